'use strict';

// The recent points of one stream, in rings: [channel] of the lowest and the highest values.
class Store {
  constructor(channels, capacity = 32768) {
    this.channels = channels;
    this.capacity = capacity;
    this.t = new Float64Array(capacity);
    this.quality = new Uint8Array(capacity);
    this.records = new Uint32Array(capacity);
    this.low = Array.from({length: channels}, () => new Float32Array(capacity));
    this.high = Array.from({length: channels}, () => new Float32Array(capacity));
    this.begin = this.end = 0;
  }

  add(batch) {
    if (batch.low.length !== this.channels) return;
    const high = batch.high || batch.low;
    batch.dt.forEach((dt, i) => {
      const t = batch.t0 + dt / 1000;
      // A source that starts over, or whose clock was set: the past is of another time.
      if (this.end > this.begin && t < this.time(this.end - 1) - 1e-9) this.begin = this.end;
      const at = this.end % this.capacity;
      this.t[at] = t;
      this.quality[at] = batch.quality ? batch.quality[i] : 0;
      this.records[at] = batch.records ? batch.records[i] : 1;
      for (let c = 0; c < this.channels; ++c) {
        this.low[c][at] = batch.low[c][i] ?? NaN;
        this.high[c][at] = high[c][i] ?? NaN;
      }
      ++this.end;
      this.begin = Math.max(this.begin, this.end - this.capacity);
    });
  }

  get size() { return this.end - this.begin; }
  time(n) { return this.t[n % this.capacity]; }
  newest() { return this.size ? this.time(this.end - 1) : NaN; }
  oldest() { return this.size ? this.time(this.begin) : NaN; }

  // The number of the first point not before t.
  lower(t) {
    let a = this.begin, b = this.end;
    while (a < b) {
      const middle = Math.floor((a + b) / 2);
      if (this.time(middle) < t) a = middle + 1; else b = middle;
    }
    return a;
  }

  // The number of the last point not behind t.
  upper(t) { return t === undefined ? this.end - 1 : this.lower(t + 1e-9) - 1; }

  // The middle of a channel there.
  value(channel, t) {
    const n = this.upper(t);
    if (n < this.begin) return NaN;
    const at = n % this.capacity;
    return (this.low[channel][at] + this.high[channel][at]) / 2;
  }
}

// Whole forecasts, the last ones.
class Forecasts {
  constructor(series) {
    this.series = series;
    this.list = [];
  }

  add(batch) {
    const inputs = this.series.inputs.length;
    batch.dt.forEach((dt, i) => {
      const t = batch.t0 + dt / 1000;
      if (this.list.length && t < this.newest()) this.list = [];
      this.list.push({
        t, x: batch.low[0][i] ?? NaN, y: batch.low.slice(inputs).map((channel) => channel[i] ?? NaN),
      });
    });
    this.list.splice(0, Math.max(0, this.list.length - 512));
    // Only the last few keep their fans.
    this.list.slice(0, -8).forEach((f) => { f.y = null; });
  }

  get size() { return this.list.length; }
  newest() { return this.size ? this.list[this.size - 1].t : NaN; }
  oldest() { return this.size ? this.list[0].t : NaN; }

  // Seconds of a sample: as the model says, or as the forecasts come.
  period() {
    const {rate_hz: rate, every} = this.series;
    if (rate > 0) return 1 / rate;
    if (this.size < 2) return 1;
    return (this.newest() - this.list[0].t) / (this.size - 1) / Math.max(every, 1) || 1;
  }
}

// What is drawn together: inputs of one unit with what predicts them, probabilities, surprises, the
// rest by unit. A line is {channel, name, unit, color, shift in seconds, sigma's channel or -1}.
function panelsOf(series) {
  const {inputs, outputs, rate_hz: rate} = series;
  const panels = new Map();
  let colors = 0;
  const panel = (key, title, unit, more = {}) => {
    if (!panels.has(key)) panels.set(key, {key, title, unit, lines: [], ...more});
    return panels.get(key);
  };
  const add = (to, channel, s, color, more = {}) => to.lines.push({
    channel, name: s.name, unit: s.unit, shift: 0, sigma: -1, on: to.lines.length < 8,
    color: color ?? `--s${colors++ % 8}`, ...more,
  });
  inputs.forEach((s, i) => {
    const to = panel('in ' + s.unit, s.name, s.unit, {tall: true});
    add(to, i, s, to.lines.length ? undefined : '--ink', {input: true});
    if (to.lines.length > 1) to.title = 'inputs';
  });
  outputs.forEach((s, i) => {
    const channel = inputs.length + i;
    const sigma = outputs[i + 1]?.kind === 'sigma' ? channel + 1 : -1;
    if (s.kind === 'sigma') return;
    if (s.of !== undefined && inputs[s.of]) {
      const ahead = s.horizon && rate > 0 ? s.horizon / rate : 0;
      add(panel('in ' + inputs[s.of].unit), channel, s, undefined, {shift: ahead, sigma});
    } else if (s.kind === 'softmax') {
      add(panel('class', 'class', '', {range: [0, 1], classes: true}), channel, s);
    } else if (s.kind === 'sigmoid') {
      add(panel('probability', 'probability', '', {range: [0, 1]}), channel, s);
    } else if (s.kind === 'surprise') {
      add(panel('surprise', 'surprise', 'nat'), channel, {...s, unit: 'nat'});
    } else {
      const to = panel('out ' + s.unit, 'outputs', s.unit);
      add(to, channel, s, undefined, {sigma});
    }
  });
  const list = [...panels.values()];
  for (const p of list) {
    if (p.lines.length === 1) p.title = p.lines[0].name;
    p.digits = p.range ? 3 : undefined;
    // Wide bands behind narrow ones, the measured line in front.
    p.order = [...p.lines].sort((a, b) => (a.input ? 1 : 0) - (b.input ? 1 : 0) || b.shift - a.shift);
  }
  return list;
}

// The class of the largest probability at point n; null where there is none.
function likeliest(panel, store, n) {
  let best = null, most = -Infinity;
  for (const line of panel.lines) {
    const p = store.high[line.channel][n % store.capacity];
    if (p > most) [best, most] = [line, p];
  }
  return best;
}

const kQuality = [
  [1, 'held', '--warn'], [2, 'gap', '--warn'], [4, 'warming', '--accent'], [8, 'late', '--bad'],
  [16, 'historical', '--muted'], [32, 'reset', '--accent'],
];

// Three significant digits, with a unit that keeps them short.
function duration(us) {
  if (!(us > 0)) return ['–', 'µs'];
  if (us < 1000) return [Number(us.toPrecision(3)).toString(), 'µs'];
  if (us < 1e6) return [Number((us / 1000).toPrecision(3)).toString(), 'ms'];
  return [Number((us / 1e6).toPrecision(3)).toString(), 's'];
}

function number(value, digits) {
  if (!Number.isFinite(value)) return '–';
  if (digits) return value.toFixed(digits);
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3).replace('-', '−');
}

function span(seconds) {
  const s = Math.floor(seconds), two = (n) => String(n).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}
