
const kWindows = [1, 2, 5, 10, 30, 60, 300, 1800];
const kRetry = 10000;
const $ = (id) => document.getElementById(id);
const page = document.documentElement;

let source = null, retry = 0;
let series = null, store = null, forecasts = null, panels = [];
let status_ = null, before = null;  // the last status and the one before it
let edge = NaN, speed = 1, arrivals = [], lastFrame = 0, lastBatch = 0;
let seconds = 0, windowFits = false, paused = false, frozen = NaN, hover, lostPoints = 0;

function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  Object.assign(e, attributes);
  e.append(...children);
  return e;
}

function setState(state, text) {
  if (page.dataset.state === state && $('state').textContent === text) return;
  page.dataset.state = state;
  $('state').textContent = text;
}

function notice(text) {
  $('notice').hidden = !text;
  if ($('notice').textContent !== text) $('notice').textContent = text;
}

// --- what comes in

function connect(stream) {
  clearTimeout(retry);
  source?.close();
  source = new EventSource('/events?stream=' + encodeURIComponent(stream));
  source.addEventListener('series', (e) => setSeries(JSON.parse(e.data)));
  source.addEventListener('status', (e) => setStatus(JSON.parse(e.data)));
  source.addEventListener('points', (e) => addPoints(JSON.parse(e.data)));
  source.onopen = () => notice('');
  source.onerror = async () => {
    if (source.readyState !== EventSource.CLOSED) {  // the browser tries again
      setState('offline', 'no connection');
      return;
    }
    const answer = await fetch('/healthz').catch(() => null);
    setState(answer ? 'full' : 'offline', answer ? 'waiting for a place' : 'no connection');
    notice(answer ? 'Eight pages are open already. This one starts when another closes.' : '');
    retry = setTimeout(() => connect(stream), kRetry);
  };
}

function setSeries(next) {
  if (series && JSON.stringify(series) === JSON.stringify(next)) return;
  series = next;
  const isForecast = series.horizon > 0;
  store = isForecast ? null : new Store(series.inputs.length + series.outputs.length);
  forecasts = isForecast ? new Forecasts(series) : null;
  panels = isForecast ? [forecastPanel()] : panelsOf(series);
  edge = frozen = NaN;
  arrivals = [];
  before = null;
  seconds = lostPoints = 0;
  windowFits = false;
  buildPanels();
  buildWindows();
  document.title = `${series.name} · xstd`;
  history.replaceState(null, '', '#' + encodeURIComponent(series.name));
}

function forecastPanel() {
  const input = series.inputs[0], q = series.quantiles;
  const unit = input.unit, off = {unit, shift: 0, sigma: -1, on: true};
  return {
    key: 'forecast', title: `${input.name} and the next ${series.horizon} samples`, unit, tall: true,
    lines: [
      {...off, channel: 0, name: input.name, color: '--ink'},
      {...off, channel: 1, name: `forecast ${q[0]} … ${q[q.length - 1]}`, color: '--s0', fan: true},
    ],
  };
}

function addPoints(batch) {
  const data = forecasts || store;
  if (!data) return;
  lostPoints += batch.lost;
  data.add(batch);
  const t = data.newest(), now = performance.now() / 1000;
  if (arrivals.length && t < arrivals[arrivals.length - 1][1]) {
    arrivals = [];
    edge = NaN;
  }
  lastBatch = now;
  if (forecasts && !windowFits && forecasts.size > 1) {  // only now their period is known
    windowFits = true;
    seconds = 0;
    buildWindows();
  }
  arrivals.push([now, t]);
  while (arrivals.length > 2 && arrivals[0][0] < now - 3) arrivals.shift();
  const [[now0, t0]] = arrivals;
  if (now - now0 > 0.3) speed = (t - t0) / (now - now0);
}

function setStatus(next) {
  before = status_?.stream.name === next.stream.name ? status_ : null;
  status_ = next;
  showStreams();
  showFigures();
  showAlarms();
  showCounts();
  showFacts();
  if (page.dataset.state !== 'full') notice('');
}

// --- controls

function showStreams() {
  const nav = $('streams'), names = status_.streams.map((s) => s.name);
  nav.hidden = names.length < 2;
  const key = names.join('\n');
  if (nav.dataset.key !== key) {
    nav.dataset.key = key;
    if (names.length <= 12) {
      nav.replaceChildren(...names.map((name) => element('button', {
        type: 'button', textContent: name, onclick: () => connect(name),
      })));
    } else {
      const options = names.map((name) => element('option', {value: name, textContent: name}));
      const select = element('select', {onchange: (e) => connect(e.target.value)}, ...options);
      select.setAttribute('aria-label', 'Stream');
      nav.replaceChildren(select);
    }
  }
  status_.streams.forEach((s, i) => {
    const chosen = s.name === status_.stream.name;
    if (names.length > 12) {
      if (chosen) nav.firstChild.value = s.name;
      return;
    }
    nav.children[i].setAttribute('aria-pressed', chosen);
    nav.children[i].classList.toggle('alarm', s.alarm || s.failed);
  });
}

function buildWindows() {
  const period = forecasts ? forecasts.period() : series.rate_hz > 0 ? 1 / series.rate_hz : 0.05;
  const wanted = forecasts ? period * Math.max(series.horizon, series.every) * 5 : period * 1200;
  let k = kWindows.findIndex((w) => w >= wanted * 0.8);
  k = Math.min(Math.max(k < 0 ? kWindows.length - 1 : k, 1), kWindows.length - 3);
  const choices = kWindows.slice(k - 1, k + 3);
  seconds = seconds || choices[1];
  $('windows').replaceChildren(...choices.map((w) => {
    const button = element('button', {
      type: 'button', textContent: w < 120 ? `${w} s` : `${w / 60} min`,
      onclick: () => { seconds = w; buildWindows(); panels.forEach((p) => { p.axis = null; }); },
    });
    button.setAttribute('aria-pressed', w === seconds);
    return button;
  }));
}

function buildPanels() {
  $('plots').replaceChildren(...panels.map((panel) => {
    const heading = element('h2', {textContent: panel.title});
    if (panel.unit) heading.append(element('small', {textContent: panel.unit}));
    const legend = element('div', {className: 'legend'}, ...panel.lines.map((line) => {
      const value = line.value = element('b', {textContent: '–'});
      const spread = line.spread = element('b', {className: 'spread'});
      const alone = panel.lines.length === 1;
      const button = line.button = element('button', {
        type: 'button', className: line.sigma >= 0 || line.fan ? 'band' : '',
        onclick: () => {
          line.on = !line.on;
          panel.axis = null;
          button.setAttribute('aria-pressed', line.on);
        },
      }, element('i'), alone ? '' : line.name, value, spread);
      button.setAttribute('aria-label', line.name);
      button.style.setProperty('--c', `var(${line.color})`);
      button.setAttribute('aria-pressed', line.on);
      return button;
    }));
    panel.marks = element('span', {className: 'marks'});
    panel.canvas = element('canvas');
    panel.canvas.setAttribute('role', 'img');
    panel.canvas.setAttribute('aria-label', `Trace of ${panel.title}`);
    panel.canvas.onpointermove = (e) => { hover = e.offsetX; };
    panel.canvas.onpointerleave = () => { hover = undefined; };
    return element('figure', {className: panel.tall ? 'tall' : ''},
                   element('figcaption', {}, heading, legend, panel.marks), panel.canvas);
  }));
}

$('pause').onclick = () => {
  paused = !paused;
  frozen = NaN;
  $('pause').setAttribute('aria-pressed', paused);
  $('pause').textContent = paused ? 'Resume' : 'Pause';
};

document.onkeydown = (e) => {
  if (e.key === ' ' && e.target === document.body) {
    e.preventDefault();
    $('pause').click();
  }
};

const prefersLight = matchMedia('(prefers-color-scheme: light)');
let chosen = null;
function setTheme() {
  page.dataset.theme = chosen ?? (prefersLight.matches ? 'light' : 'dark');
  styles = new Map();
}
prefersLight.onchange = setTheme;
$('theme').onclick = () => {
  chosen = page.dataset.theme === 'light' ? 'dark' : 'light';
  setTheme();
  if (status_) showFigures();
};
setTheme();

// --- figures

function put(id, [value, unit]) {
  $(id).textContent = value;
  $(id + '-unit').textContent = unit;
}

function showFigures() {
  const s = status_.stream, was = before?.stream;
  const time = was ? status_.uptime_s - before.uptime_s : 0;
  const rate = time > 0 ? (s.counts.samples - was.counts.samples) / time : NaN;
  $('rate').textContent =
      Number.isFinite(rate) ? Number(rate.toPrecision(3)).toLocaleString('en') : '–';
  put('step', duration(s.step_us.p50));
  put('latency', duration(s.latency_us.p99));
  put('queue', [String(s.queue.fill), `of ${s.queue.capacity}`]);
  const names = [['p50', 'median'], ['p99', 'p99'], ['p999', 'p99.9'], ['max', 'longest']];
  $('quantiles').replaceChildren(...names.map(([key, name]) => element('div', {},
      element('dt', {textContent: name}),
      element('dd', {textContent: duration(s.step_us[key]).join(' ')}))));
  $('step-count').textContent = `${s.counts.outputs.toLocaleString('en')} steps`;
  drawHistogram($('histogram'), s.step_bins, status_.first_bin, s.step_us,
                s.rate_hz > 0 && !series?.horizon ? 1e6 / s.rate_hz : 0);
}

function showAlarms() {
  const alarms = status_.stream.alarms;
  if (!alarms.length) {
    $('alarms').replaceChildren(element('p', {textContent: 'None configured for this stream.'}));
    return;
  }
  const sorted = [...alarms].sort((a, b) => b.active - a.active || b.since - a.since);
  $('alarms').replaceChildren(...sorted.map((a) => element('li', {className: a.active ? 'active' : ''},
      element('b', {textContent: a.name, title: a.output}),
      element('span', {
        textContent: (a.active ? number(a.value) + ' since ' : a.since ? 'clear since ' : 'clear') +
            (a.since ? new Date(a.since * 1000).toLocaleTimeString([], {hour12: false}) : ''),
      }))));
}

const kBad = new Set(['dropped', 'rejected', 'missing', 'late', 'errors', 'snapshot_errors']);

function showCounts() {
  const counts = Object.entries(status_.stream.counts);
  if (lostPoints) counts.push(['points not shown', lostPoints]);
  $('counts').replaceChildren(...counts.flatMap(([name, n]) => [
    element('dt', {textContent: name.replaceAll('_', ' ')}),
    element('dd', {
      textContent: n.toLocaleString('en'), className: n === 0 ? 'zero' : kBad.has(name) ? 'warn' : '',
    }),
  ]));
}

function showFacts() {
  const s = status_.stream, last = s.last;
  $('version').textContent = status_.version;
  const marks = last ? kQuality.filter(([bit]) => last.quality & bit).map(([, name]) => name) : [];
  const facts = [
    ['model', s.model.split('/').pop()],
    ['runs on', s.isa ? `${s.device}, ${s.isa}` : s.device],
    ['rate', s.rate_hz > 0 ? `${s.rate_hz} Hz` : 'events'],
    ['source', s.endpoint ? `${s.source}, ${s.endpoint}` : s.source],
    ['last record', last ? `seq ${last.seq.toLocaleString('en')}` : 'none yet'],
    ['its quality', last ? marks.join(', ') || 'good' : '–'],
    ['publishes at', status_.publish],
    ['daemon up', span(status_.uptime_s)],
    ['memory', `${(status_.rss_bytes / 2 ** 20).toFixed(1)} MiB`],
    ['model file', s.file_hash, 'mono'],
  ];
  $('facts').replaceChildren(...facts.flatMap(([name, value, kind = '']) => [
    element('dt', {textContent: name}), element('dd', {textContent: value, className: kind}),
  ]));
}

// --- pictures

// The newest time shown: moves evenly, though points come in lots.
function moveEdge(newest, elapsed) {
  if (Number.isNaN(edge) || Math.abs(newest - edge) > Math.max(0.5, 2 * Math.abs(speed))) edge = newest;
  const behind = newest - 0.08 * speed - edge;
  edge = Math.min(newest, Math.max(edge, edge + (speed + 2 * behind) * elapsed));
}

function showValues(view) {
  const at = view.hover ?? (paused ? view.now : undefined);
  for (const panel of panels) {
    for (const line of panel.lines) {
      let text = '–', spread = '';
      if (forecasts) {
        const last = forecasts.list[forecasts.size - 1];
        text = line.fan ? '' : last ? number(last.x) : '–';
      } else {
        const t = at === undefined ? undefined : at - line.shift;
        text = number(store.value(line.channel, t), panel.digits);
        if (line.sigma >= 0) spread = '± ' + number(store.value(line.sigma, t));
      }
      if (line.value.textContent !== text) line.value.textContent = text;
      if (line.spread.textContent !== spread) line.spread.textContent = spread;
    }
    if (panel.classes) {
      const n = store.upper(at), best = n < store.begin ? null : likeliest(panel, store, n);
      for (const line of panel.lines) line.button.classList.toggle('likeliest', line === best);
    }
  }
}

// Names of the marks under the first traces, in their colours.
function showMarks() {
  const panel = panels.find((p) => p.tall);
  if (!store || !panel?.marks || panel.seen === undefined) return;
  if (panel.marks.dataset.seen === String(panel.seen)) return;
  panel.marks.dataset.seen = panel.seen;
  panel.marks.replaceChildren(...kQuality.filter(([bit]) => panel.seen & bit).map(([, name, color]) => {
    const mark = element('span', {textContent: name});
    mark.style.setProperty('--c', `var(${color})`);
    return mark;
  }));
}

let drawn = 0, lastValues = 0;
function draw(now) {
  requestAnimationFrame(draw);
  const elapsed = Math.min((now - lastFrame) / 1000, 0.25);
  lastFrame = now;
  const data = forecasts || store;
  if (!data?.size) {
    panels.forEach((panel) => drawEmpty(panel.canvas, 'no records yet'));
    if (status_ && page.dataset.state !== 'offline') setState('waiting', 'no records yet');
    return;
  }
  moveEdge(data.newest(), elapsed);
  const quiet = now / 1000 - lastBatch > 3;
  if (source.readyState === EventSource.OPEN && status_) {
    const s = status_.stream;
    if (paused) setState('paused', 'paused');
    else if (s.failed) setState('failed', 'source failed');
    else if (s.ended) setState('ended', 'source ended');
    else if (!status_.healthy) setState('failed', 'steps stand still');
    else if (quiet) setState('waiting', 'no new records');
    else setState('live', 'live');
  }
  const period = series.rate_hz > 0 ? 1 / series.rate_hz : 0;
  let ahead = Math.max(0, ...panels.flatMap((p) => p.lines.map((l) => l.shift)));
  if (forecasts) ahead = forecasts.period() * series.horizon;
  if (paused && Number.isNaN(frozen)) frozen = edge;
  const right = paused ? frozen : quiet ? data.newest() : edge;
  const from = Math.max(right - seconds, Math.min(data.oldest(), right));  // fills from the left
  const view = {
    from, to: Math.max(from + seconds + ahead, forecasts ? data.newest() + ahead : 0), now: right,
    // Points are not joined over more than this, beside what their records take; without a rate all
    // are.
    gap: period ? Math.max(5 * period, 0.05) : Infinity, period,
  };
  if (hover !== undefined && panels[0]?.canvas) {
    const width = panels[0].canvas.clientWidth - kLeft - kRight;
    view.hover = view.from + (hover - kLeft) / width * (view.to - view.from);
  }
  let points = 0;
  for (const panel of panels) {
    points += forecasts ? drawForecast(panel, forecasts, view) : drawPanel(panel, store, view);
  }
  drawn += points > 0;
  page.dataset.points = points;
  page.dataset.frames = drawn;
  if (now - lastValues > 150) {
    lastValues = now;
    showValues(view);
    showMarks();
  }
}

connect(decodeURIComponent(location.hash.slice(1)));
requestAnimationFrame(draw);
