// The raster: the spikes of a layer as an image, the selection, and the rate below.

function showRaster() {
  const name = layerName();
  const found = entry(name, state.picture);
  const [channels, height, width] = volume(shapes[name]);
  const place = height * width;
  state.box = null;
  raster.y_range.setv({start: -0.5, end: channels - 0.5, reset_start: -0.5, reset_end: channels - 0.5});
  const isOutput = name === run.outputs;
  raster.left[0].axis_label = isOutput ? "output" : place > 1 ? "channel" : "unit";
  raster.left[0].major_label_overrides = isOutput
    ? new Map(run.classes.map((text, index) => [index, text])) : new Map();
  raster.left[0].ticker.desired_num_ticks = isOutput ? Math.min(channels, 20) : 8;
  element("raster-title").textContent = `Raster of ${name} (${sizeText(shapes[name])})`;
  element("raster-note").textContent = !found.recorded
    ? `Spikes of ${name} were not recorded for this picture: run(..., record=["${name}"]).`
    : place > 1
      ? `${whole(found.total)} spikes of ${whole(found.size)} neurons; a band is a channel, its neurons row after row.`
      : `${whole(found.total)} spikes of ${whole(found.size)} neurons.`;
  const {stimulus} = run.pictures[state.picture];
  const trials = run.pictures.filter((picture) => picture.stimulus === stimulus).length;
  if (stimulus !== undefined && trials > 1 && found.recorded) {
    element("raster-note").textContent += ` Below, the second line is the mean of ${trials} trials.`;
  }
  element("raster").hidden = !found.recorded;
  drawRaster();
  showRate();
}

// First of the neurons from i to j, in order of their numbers, that is at least n.
function firstFrom(neurons, i, j, n) {
  while (i < j) {
    const middle = (i + j) >> 1;
    if (neurons[middle] < n) i = middle + 1; else j = middle;
  }
  return i;
}
// Calls f(step, neuron) for the spikes of a rectangle.
function eachSpike(found, [step0, step1], [neuron0, neuron1], f) {
  for (let step = Math.max(0, step0); step <= Math.min(steps - 1, step1); step++) {
    const end = found.begin[step + 1];
    let i = firstFrom(found.neurons, found.begin[step], end, neuron0);
    for (; i < end && found.neurons[i] <= neuron1; i++) f(step, found.neurons[i]);
  }
}
// The vertical axis: a channel is a band around its number.
const placeOf = () => { const [, h, w] = volume(shapes[layerName()]); return h * w; };
const neuronAt = (row, place) => (row + 0.5) * place - 0.5;

// The spikes in view, as an image of the frame's pixels. Where a pixel stands for
// several neurons or steps, it is the more opaque the more of them spike.
function paintRaster() {
  const found = entry(layerName(), state.picture);
  const zoom = window.devicePixelRatio || 1;
  const width = Math.round(raster.inner_width * zoom);
  const height = Math.round(raster.inner_height * zoom);
  if (!found.recorded || !(width > 0 && height > 0)) return;
  const place = placeOf();
  const {start: t0, end: t1} = times;
  const {start: row0, end: row1} = raster.y_range;
  const view = [Math.floor(t0 / dt), Math.ceil(t1 / dt)];
  const firstNeuron = Math.max(0, Math.ceil(neuronAt(row0, place) - 0.5));
  const lastNeuron = Math.min(found.size - 1, Math.floor(neuronAt(row1, place) + 0.5));
  const stepPixels = width * dt / (t1 - t0);
  const neuronPixels = height / ((row1 - row0) * place);
  const byStep = stepPixels >= 1, byNeuron = neuronPixels >= 1;
  const pixelOfStep = (step) => (step * dt - t0) * width / (t1 - t0);
  const pixelOfNeuron = (neuron) => ((neuron + 0.5) / place - 0.5 - row0) * height / (row1 - row0);
  const columns = byStep ? view[1] - view[0] + 1 : width;
  const rows = byNeuron ? Math.max(1, lastNeuron - firstNeuron + 1) : height;
  const cells = new Uint32Array(columns * rows);
  const chosen = state.box ? new Uint32Array(columns * rows) : null;
  let inView = 0;
  const cellOf = (step, neuron) => {
    const column = byStep ? step - view[0] : Math.floor(pixelOfStep(step));
    const row = byNeuron ? neuron - firstNeuron : Math.floor(pixelOfNeuron(neuron));
    return column >= 0 && column < columns && row >= 0 && row < rows ? column * rows + row : -1;
  };
  eachSpike(found, view, [firstNeuron, lastNeuron], (step, neuron) => {
    const cell = cellOf(step, neuron);
    if (cell < 0) return;
    inView++;
    cells[cell]++;
    if (chosen && inBox(step, neuron)) chosen[cell]++;
  });
  let most = 1;
  for (const n of cells) if (n > most) most = n;
  // Few spikes have larger marks, so that none is overlooked.
  const least = zoom * (inView > 20000 ? 1 : inView > 2000 ? 2 : 4);
  const mark = (pixels, most) => Math.round(Math.max(least, Math.min(most * zoom, 0.7 * pixels)));
  const markWidth = mark(stepPixels, 8), markHeight = mark(neuronPixels, 18);
  const image = new Uint32Array(width * height);
  for (let column = 0; column < columns; column++) {
    const x = byStep ? pixelOfStep(column + view[0]) : column + 0.5;
    const left = Math.round(x - markWidth / 2);
    for (let row = 0; row < rows; row++) {
      const n = cells[column * rows + row];
      if (!n) continue;
      const y = byNeuron ? pixelOfNeuron(row + firstNeuron) : row + 0.5;
      const neuron = byNeuron ? row + firstNeuron : neuronAt(row0 + y * (row1 - row0) / height, place);
      const channel = Math.max(0, Math.floor((neuron + 0.5) / place));
      let alpha = most === 1 ? 255 : 70 + 185 * Math.sqrt(n / most);
      if (chosen && !chosen[column * rows + row]) alpha *= 0.18;
      const color = ((Math.round(alpha) << 24) | packed[channel % packed.length]) >>> 0;
      const low = Math.round(y - markHeight / 2);
      for (let v = Math.max(0, low); v < Math.min(height, low + markHeight); v++) {
        for (let u = Math.max(0, left); u < Math.min(width, left + markWidth); u++) {
          if (image[v * width + u] >>> 24 < alpha) image[v * width + u] = color;
        }
      }
    }
  }
  rasterSource.data = {
    image: [ndarray(image.buffer, {dtype: "uint32", shape: [height, width]})],
    x: [t0], y: [row0], width: [t1 - t0], height: [row1 - row0],
  };
}
let rasterAsked = false;
function drawRaster() {
  if (rasterAsked) return;
  rasterAsked = true;
  requestAnimationFrame(() => { rasterAsked = false; paintRaster(); });
}
function inBox(step, neuron) {
  const {steps: [s0, s1], neurons: [n0, n1]} = state.box;
  return step >= s0 && step <= s1 && neuron >= n0 && neuron <= n1;
}
function select(geometry) {
  const place = placeOf();
  state.box = geometry && {
    steps: [Math.ceil(geometry.x0 / dt), Math.floor(geometry.x1 / dt)],
    neurons: [Math.ceil(neuronAt(geometry.y0, place)), Math.floor(neuronAt(geometry.y1, place))],
  };
  drawRaster();
  showRate();
}
function spikeNear(t, row) {
  const found = entry(layerName(), state.picture);
  if (!found.recorded) return null;
  const place = placeOf();
  const stepsAway = 6 * (times.end - times.start) / raster.inner_width / dt;
  const neuronsAway = 6 * (raster.y_range.end - raster.y_range.start) * place / raster.inner_height;
  const step = t / dt, neuron = neuronAt(row, place);
  let best = null, least = 1;
  eachSpike(found, [Math.ceil(step - stepsAway), Math.floor(step + stepsAway)],
    [neuron - neuronsAway, neuron + neuronsAway], (s, n) => {
      const distance = ((s - step) / stepsAway) ** 2 + ((n - neuron) / neuronsAway) ** 2;
      if (distance < least) { least = distance; best = [s, n]; }
    });
  return best;
}
function placeText(neuron, shape) {
  const [, height, width] = volume(shape);
  if (shape.length === 1) return `unit ${neuron}`;
  const within = neuron % (height * width);
  const channel = Math.floor(neuron / (height * width));
  return `channel ${channel}, y ${Math.floor(within / width)}, x ${within % width}`;
}

// The mean rate of all trials of a stimulus that the page has: its PSTH, step by step.
const psths = new Map();
function meanOfTrials(toHz) {
  const {stimulus} = run.pictures[state.picture];
  const name = layerName();
  const key = `${stimulus}/${name}`;
  if (psths.has(key)) return psths.get(key);
  const mean = new Float64Array(steps + 1);
  let n = 0;
  run.pictures.forEach((picture, place) => {
    if (stimulus === undefined || picture.stimulus !== stimulus) return;
    const found = entry(name, place);
    if (!found.recorded) return;
    n++;
    for (let step = 0; step < steps; step++) mean[step] += found.begin[step + 1] - found.begin[step];
  });
  mean[steps] = mean[steps - 1];
  for (let step = 0; step <= steps; step++) mean[step] = n > 1 ? mean[step] * toHz / n : NaN;
  psths.set(key, mean);
  return mean;
}
function showRate() {
  const found = entry(layerName(), state.picture);
  const t = new Float64Array(steps + 1);
  const rate = new Float64Array(steps + 1).fill(NaN);
  const selected = new Float64Array(steps + 1).fill(state.box ? 0 : NaN);
  const toHz = 1000 / (found.size * dt);
  const neurons = new Set();
  let n = 0;
  if (state.box) {
    eachSpike(found, state.box.steps, state.box.neurons, (step, neuron) => {
      selected[step] += toHz;
      neurons.add(neuron);
      n++;
    });
  }
  for (let step = 0; step <= steps; step++) {
    t[step] = (step - 0.5) * dt;
    if (found.recorded && step < steps) rate[step] = (found.begin[step + 1] - found.begin[step]) * toHz;
  }
  // The last step is drawn to its end.
  rate[steps] = rate[steps - 1];
  selected[steps] = selected[steps - 1];
  rateSource.data = {t, rate, selected, trials: meanOfTrials(toHz)};
  element("clear").hidden = !state.box;
  element("shown-selected").textContent = state.box
    ? `${whole(n)} of ${whole(neurons.size)} neurons` : "none";
}
