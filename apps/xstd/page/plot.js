
// Canvas pictures. A view is {from, to, now, hover}: seconds on the x axis, the newest point, the
// pointer.
const kLeft = 46, kRight = 8, kTop = 8, kBottom = 20;

// Custom properties of the theme, read once a theme.
let styles = new Map();
function css(name) {
  let value = styles.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    styles.set(name, value);
  }
  return value;
}

// The context in CSS pixels, at the screen's own resolution.
function prepare(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const ctx = canvas.getContext('2d');
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return {ctx, width, height};
}

// A round step that cuts `range` into about `count` parts.
function roundStep(range, count) {
  const raw = range / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 2.5, 5].find((f) => raw <= f * power * 1.0001) ?? 10);
}

function timeLabel(t, step) {
  if (t > 1e8) {
    const at = new Date(t * 1000);
    return at.toLocaleTimeString([], {hour12: false}) +
        (step < 1 ? (t % 1).toFixed(step < 0.1 ? 2 : 1).slice(1) : '');
  }
  return t.toFixed(step < 0.1 ? 2 : step < 1 ? 1 : 0).replace('-', '−');
}

function drawEmpty(canvas, text) {
  const {ctx, width, height} = prepare(canvas);
  ctx.font = `13px ${css('--sans')}`;
  ctx.fillStyle = css('--muted');
  ctx.textAlign = 'center';
  ctx.fillText(text, width / 2, height / 2);
}

// Axes and grid; gives the box and the scales.
function frame(ctx, width, height, view, low, high) {
  const box = {left: kLeft, top: kTop, right: width - kRight, bottom: height - kBottom};
  const X = (t) => box.left + (t - view.from) / (view.to - view.from) * (box.right - box.left);
  const Y = (v) => box.bottom - (v - low) / (high - low) * (box.bottom - box.top);
  ctx.font = `11px ${css('--sans')}`;
  ctx.lineWidth = 1;
  ctx.strokeStyle = css('--grid');
  ctx.fillStyle = css('--axis');
  ctx.textAlign = 'right';
  ctx.textBaseline = 'middle';
  const yStep = roundStep(high - low, (box.bottom - box.top) / 40);
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(yStep) + 1e-9) + (yStep.toPrecision(2).includes('25') ? 1 : 0)));
  ctx.beginPath();
  for (let k = Math.ceil(low / yStep - 1e-9); k * yStep <= high + 1e-9 * yStep; ++k) {
    const y = Math.round(Y(k * yStep)) + 0.5;
    ctx.moveTo(box.left, y);
    ctx.lineTo(box.right, y);
    ctx.fillText((k * yStep).toFixed(digits).replace('-', '−'), box.left - 7, y);
  }
  const xStep = roundStep(view.to - view.from, (box.right - box.left) / 84);
  ctx.textAlign = 'center';
  ctx.textBaseline = 'alphabetic';
  for (let k = Math.ceil(view.from / xStep); k * xStep <= view.to; ++k) {
    const x = Math.round(X(k * xStep)) + 0.5;
    ctx.moveTo(x, box.top);
    ctx.lineTo(x, box.bottom);
    if (x > box.left + 8 && x < box.right - 26) ctx.fillText(timeLabel(k * xStep, xStep), x, height - 5);
  }
  ctx.stroke();
  ctx.textAlign = 'right';
  ctx.fillText('s', box.right, height - 5);
  return {box, X, Y};
}

// Visible points of a line, one a device column: [x, low, high, sigma]; NaN where the line breaks.
function columns(store, line, view, X) {
  const out = [];
  const first = Math.max(store.begin, store.lower(view.from - line.shift) - 1);
  const end = Math.min(store.end, store.lower(view.to - line.shift) + 1);
  const low = store.low[line.channel], high = store.high[line.channel];
  const sigma = line.sigma >= 0 ? store.high[line.sigma] : null;
  let last = -Infinity, lastT = -Infinity, column = null;
  for (let n = first; n < end; ++n) {
    const at = n % store.capacity, t = store.t[at];
    const a = low[at], b = high[at], s = sigma ? sigma[at] : 0;
    if (Number.isNaN(a) || t - lastT > view.gap + 1.5 * store.records[at] * view.period) {
      if (out.length) out.push([NaN, NaN, NaN, NaN]);
      last = -Infinity;
    }
    lastT = t;
    if (Number.isNaN(a)) continue;
    const x = X(t + line.shift), pixel = Math.floor(x * 2);
    if (pixel === last) {
      column[1] = Math.min(column[1], a);
      column[2] = Math.max(column[2], b);
      column[3] = Math.max(column[3], s);
    } else {
      column = [x, a, b, s];
      out.push(column);
      last = pixel;
    }
  }
  return out;
}

function drawLine(ctx, points, Y) {
  ctx.beginPath();
  let up = true;
  for (const [x, low, high] of points) {
    if (Number.isNaN(x)) {
      up = true;
      continue;
    }
    if (up) ctx.moveTo(x, Y(low)); else ctx.lineTo(x, Y(low));
    if (high !== low) ctx.lineTo(x, Y(high));
    up = false;
  }
  ctx.stroke();
}

// From mean − k sigma to mean + k sigma.
function drawBand(ctx, points, Y, k) {
  let run = [];
  const flush = () => {
    if (run.length > 1) {
      ctx.beginPath();
      run.forEach(([x, , high, s], i) => ctx[i ? 'lineTo' : 'moveTo'](x, Y(high + k * s)));
      run.reverse().forEach(([x, low, , s]) => ctx.lineTo(x, Y(low - k * s)));
      ctx.fill();
    }
    run = [];
  };
  for (const p of points) {
    if (Number.isNaN(p[0])) flush(); else run.push(p);
  }
  flush();
}

// The y axis: grows at once, shrinks slowly, so that the picture does not jump.
function scale(panel, low, high) {
  if (panel.range) return panel.range;
  if (!(low <= high)) [low, high] = [0, 1];
  const pad = Math.max((high - low) * 0.06, Math.abs(high) * 1e-3, 1e-6);
  low -= pad;
  high += pad;
  const was = panel.axis;
  if (was) {
    const slow = 0.03;
    low = low < was[0] ? low : was[0] + slow * (low - was[0]);
    high = high > was[1] ? high : was[1] + slow * (high - was[1]);
  }
  return panel.axis = [low, high];
}

// Under the traces, where a record's quality says something; gives the bits of all in view.
function drawMarks(ctx, {box, X}, store, view) {
  const first = Math.max(store.begin, store.lower(view.from));
  let start = first;
  const flush = (end, color) => {
    const x = Math.max(X(store.time(start)), box.left);
    ctx.fillStyle = css(color);
    ctx.fillRect(x, box.bottom - 3, Math.max(X(store.time(end)) - x, 1.5), 3);
  };
  let color = null, seen = 0;
  for (let n = first; n < store.end; ++n) {
    const quality = store.quality[n % store.capacity];
    seen |= quality;
    const now = quality ? kQuality.findLast(([bit]) => quality & bit)?.[2] ?? null : null;
    if (now !== color) {
      if (color) flush(n, color);
      color = now;
      start = n;
    }
  }
  if (color) flush(store.end - 1, color);
  return seen;
}

// Above the traces of classes: the likeliest, in its colour.
function drawWinners(ctx, {box, X}, store, panel, view) {
  const first = Math.max(store.begin, store.lower(view.from) - 1);
  let start = first, winner = null;
  const flush = (end) => {
    if (!winner) return;
    const x = Math.max(X(store.time(start)), box.left);
    ctx.fillStyle = css(winner.color);
    ctx.fillRect(x, box.top - 2, Math.max(X(store.time(end)) - x, 1.5), 5);
  };
  for (let n = first; n < store.end; ++n) {
    const now = likeliest(panel, store, n);
    if (now === winner) continue;
    flush(n);
    winner = now;
    start = n;
  }
  flush(store.end - 1);
}

function drawCursor(ctx, {box, X}, view) {
  const line = (t, color, dash) => {
    const x = Math.round(X(t)) + 0.5;
    if (x < box.left || x > box.right) return;
    ctx.strokeStyle = css(color);
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(x, box.top);
    ctx.lineTo(x, box.bottom);
    ctx.stroke();
    ctx.setLineDash([]);
  };
  ctx.lineWidth = 1;
  line(view.now, '--axis', [2, 3]);
  if (view.hover !== undefined) line(view.hover, '--text', []);
}

// Draws one panel of lines; gives the number of points that were in view.
function drawPanel(panel, store, view) {
  const {ctx, width, height} = prepare(panel.canvas);
  if (width < 80 || !store.size) return 0;
  // The scales need the range, the columns the scale of x alone.
  const X = (t) => kLeft + (t - view.from) / (view.to - view.from) * (width - kLeft - kRight);
  let low = Infinity, high = -Infinity, drawn = 0;
  for (const line of panel.order) {
    line.points = line.on ? columns(store, line, view, X) : [];
    drawn += line.points.length;
    for (const [x, a, b, s] of line.points) {
      if (Number.isNaN(x)) continue;
      low = Math.min(low, a - 2 * s);
      high = Math.max(high, b + 2 * s);
    }
  }
  const axes = frame(ctx, width, height, view, ...scale(panel, low, high));
  const {box, Y} = axes;
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 4);
  ctx.clip();
  ctx.lineJoin = 'round';
  for (const line of panel.order) {
    if (line.sigma < 0) continue;
    ctx.fillStyle = css(line.color);
    ctx.globalAlpha = 0.16;
    drawBand(ctx, line.points, Y, 2);
    drawBand(ctx, line.points, Y, 1);
    ctx.globalAlpha = 1;
  }
  for (const line of panel.order) {
    ctx.strokeStyle = css(line.color);
    ctx.lineWidth = line.input ? 1.6 : 1.25;
    drawLine(ctx, line.points, Y);
  }
  if (panel.tall) panel.seen = drawMarks(ctx, axes, store, view);
  if (panel.classes) drawWinners(ctx, axes, store, panel, view);
  drawCursor(ctx, axes, view);
  ctx.restore();
  return drawn;
}

// The inputs at the forecasts, the last fan, the medians of those before it.
function drawForecast(panel, forecasts, view) {
  const {ctx, width, height} = prepare(panel.canvas);
  if (width < 80 || !forecasts.size) return 0;
  const {quantiles, horizon} = forecasts.series, q = quantiles.length, period = forecasts.period();
  const middle = quantiles.reduce((b, v, i) => (Math.abs(v - 0.5) < Math.abs(quantiles[b] - 0.5) ? i : b), 0);
  const seen = forecasts.list.filter((f) => f.t >= view.from);
  const fan = [...forecasts.list].reverse().find((f) => f.y);
  let low = Infinity, high = -Infinity;
  const reach = (v) => {
    if (!Number.isFinite(v)) return;
    low = Math.min(low, v);
    high = Math.max(high, v);
  };
  seen.forEach((f) => reach(f.x));
  if (fan) fan.y.forEach(reach);
  const axes = frame(ctx, width, height, view, ...scale(panel, low, high));
  const {box, X, Y} = axes;
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 4);
  ctx.clip();
  const path = (f, quantile) => {
    const points = [];
    for (let h = 0; h < horizon; ++h) points.push([X(f.t + (h + 1) * period), Y(f.y[h * q + quantile])]);
    return points;
  };
  const stroke = (points) => {
    ctx.beginPath();
    points.forEach(([x, y], i) => ctx[i ? 'lineTo' : 'moveTo'](x, y));
    ctx.stroke();
  };
  ctx.fillStyle = ctx.strokeStyle = css('--s0');
  ctx.lineJoin = 'round';
  if (fan && panel.lines[1].on) {
    ctx.globalAlpha = 0.14;
    for (let i = 0; i < middle && q - 1 - i > middle; ++i) {
      ctx.beginPath();
      path(fan, q - 1 - i).forEach(([x, y], k) => ctx[k ? 'lineTo' : 'moveTo'](x, y));
      path(fan, i).reverse().forEach(([x, y]) => ctx.lineTo(x, y));
      ctx.fill();
    }
    ctx.globalAlpha = 0.35;
    ctx.lineWidth = 1;
    forecasts.list.filter((f) => f.y && f !== fan).forEach((f) => stroke(path(f, middle)));
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1.6;
    stroke(path(fan, middle));
  }
  if (panel.lines[0].on) {
    ctx.strokeStyle = ctx.fillStyle = css('--ink');
    ctx.lineWidth = 1.6;
    stroke(seen.filter((f) => Number.isFinite(f.x)).map((f) => [X(f.t), Y(f.x)]));
    seen.forEach((f) => ctx.fillRect(X(f.t) - 1.5, Y(f.x) - 1.5, 3, 3));
  }
  drawCursor(ctx, axes, view);
  ctx.restore();
  return seen.length + (fan ? fan.y.length : 0);
}

// Step times on a logarithmic axis, counts too: the tail is what matters. `limit`: a sample's period
// in µs, 0 without one.
function drawHistogram(canvas, bins, firstBin, quantiles, limit) {
  const {ctx, width, height} = prepare(canvas);
  const edge = (bin) => 2 ** (firstBin + Math.floor(bin / 4)) * (1 + 0.25 * (bin % 4)) / 1000;  // µs
  const first = bins.findIndex((n) => n > 0);
  if (first < 0 || width < 40) return;
  const last = bins.findLastIndex((n) => n > 0);
  let from = edge(Math.max(first - 2, 0)), to = edge(last + 3);
  if (limit > 0) to = Math.max(to, limit * 1.3);
  const left = 1, right = width - 1, bottom = height - 17, top = 4;
  const X = (us) => left + Math.log(us / from) / Math.log(to / from) * (right - left);
  const most = Math.log10(1 + Math.max(...bins));
  ctx.font = `11px ${css('--sans')}`;
  ctx.textAlign = 'center';
  ctx.lineWidth = 1;
  ctx.strokeStyle = css('--grid');
  ctx.fillStyle = css('--axis');
  const decades = Math.log10(to / from);
  for (let power = Math.floor(Math.log10(from)); 10 ** power <= to; ++power) {
    for (const factor of decades < 2 ? [1, 2, 5] : [1]) {
      const us = factor * 10 ** power;
      if (us < from || us > to) continue;
      const x = Math.round(X(us)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, bottom);
      ctx.stroke();
      if (x > 16 && x < width - 18) ctx.fillText(duration(us).join(' '), x, height - 4);
    }
  }
  ctx.fillStyle = css('--s0');
  bins.forEach((n, bin) => {
    if (!n) return;
    const x = X(edge(bin)), h = Math.max(Math.log10(1 + n) / most * (bottom - top - 8), 2);
    ctx.fillRect(x + 0.5, bottom - h, Math.max(X(edge(bin + 1)) - x - 1, 1), h);
  });
  const mark = (us, color, dash) => {
    if (!(us >= from && us <= to)) return;
    const x = Math.round(X(us)) + 0.5;
    ctx.strokeStyle = css(color);
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, bottom);
    ctx.stroke();
    ctx.setLineDash([]);
  };
  mark(quantiles.p50, '--text', []);
  mark(quantiles.p99, '--text', [3, 2]);
  mark(limit, '--bad', [4, 3]);
  ctx.strokeStyle = css('--edge');
  ctx.beginPath();
  ctx.moveTo(left, bottom + 0.5);
  ctx.lineTo(right, bottom + 0.5);
  ctx.stroke();
}
