"use strict";
(async () => {
  const element = (id) => document.getElementById(id);
  const run = JSON.parse(element("result-data").textContent);
  const items = JSON.parse(element("figure-data").textContent);
  const whole = (number) => number.toLocaleString("en-US");
  const {steps, dt} = run;
  const duration = steps * dt;
  const timeText = (step) => `${Number((step * dt).toPrecision(6))} ms`;

  // Colours of middle lightness are legible on both backgrounds.
  const palette = [
    "#3b82c4", "#e0762c", "#2f9e6e", "#d6544f", "#8a6fd1",
    "#a0714f", "#d061ae", "#7f8794", "#9c8f1a", "#179cb2",
  ];
  // As bytes in the order of an image: red is the lowest.
  const packed = palette.map((c) => {
    const rgb = parseInt(c.slice(1), 16);
    return ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16);
  });

  // ---- Data: base64 of typed arrays, unpacked when they are looked at first.
  const kinds = {
    uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
  };
  function unpack({type, data}) {
    const text = atob(data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new kinds[type](bytes.buffer);
  }
  const unpacked = new Map();
  // Of a layer and a picture: the spikes' neurons, where each step begins, the counts.
  function entry(name, picture) {
    const key = `${picture}/${name}`;
    if (unpacked.has(key)) return unpacked.get(key);
    const raw = run.pictures[picture].layers[name];
    const size = shapes[name].reduce((a, b) => a * b, 1);
    const found = {recorded: "spikes" in raw, size};
    if (found.recorded) {
      found.neurons = unpack(raw.spikes.neurons);
      const perStep = unpack(raw.spikes.perStep);
      found.begin = new Uint32Array(steps + 1);
      for (let s = 0; s < steps; s++) found.begin[s + 1] = found.begin[s] + perStep[s];
      found.counts = countsUpTo(found, steps);
    } else {
      found.counts = Float64Array.from(unpack(raw.counts));
    }
    found.total = found.counts.reduce((a, b) => a + b, 0);
    if ("cnn" in raw) {
      const {low, high} = raw.cnn;
      found.cnn = Float64Array.from(unpack(raw.cnn), (v) => low + v * (high - low) / 65535);
    }
    unpacked.set(key, found);
    return found;
  }
  function countsUpTo(found, step) {
    if (!found.neurons) return found.counts;
    const counts = new Float64Array(found.size);
    for (let i = 0; i < found.begin[step]; i++) counts[found.neurons[i]]++;
    return counts;
  }
  const shapes = Object.fromEntries(run.layers.map(({name, shape}) => [name, shape]));
  shapes[run.outputs] ??= [run.classes.length];
  const volume = (shape) => (shape.length === 3 ? shape : [shape[0], 1, 1]);
  const sizeText = (shape) => shape.join(" × ");

  // ---- Figures
  const models = {};
  for (const [place, item] of Object.entries(items)) {
    const before = new Set(Bokeh.documents);
    await Bokeh.embed.embed_item(item, place);
    models[place] = Bokeh.documents.find((doc) => !before.has(doc));
  }
  const model = (place, name) => models[place].get_model_by_name(name);
  const raster = model("raster", "raster");
  const rasterSource = model("raster", "raster_source");
  const rateSource = model("raster", "rate_source");
  const times = raster.x_range;
  const cursors = ["raster", "rate"].map((n) => model("raster", n))
    .concat(model("outputs", "outputs"))
    .map((figure) => figure.center.find((part) => part.name === "cursor"));
  const maps = ["snn", "cnn"].filter((name) => model("maps", `map_${name}`)).map((name) => ({
    figure: model("maps", `map_${name}`),
    source: model("maps", `map_${name}_source`),
    mapper: model("maps", `map_${name}_mapper`),
  }));
  const outputsSource = model("outputs", "outputs_source");
  const {ndarray} = Bokeh.require("core/util/ndarray");

  // ---- What is shown
  const state = {picture: 0, layer: 0, cursor: steps, box: null};
  state.layer = Math.max(0, run.layers.findIndex(
    ({name}) => name !== "input" && "spikes" in run.pictures[0].layers[name]));
  const layerName = () => run.layers[state.layer].name;

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
    rateSource.data = {t, rate, selected};
    element("clear").hidden = !state.box;
    element("shown-selected").textContent = state.box
      ? `${whole(n)} of ${whole(neurons.size)} neurons` : "none";
  }

  // ---- Feature maps: the channels as tiles, with a gap of a pixel between maps.
  let mapAspect = 1.5;
  function refitMaps() {
    const {inner_width: width, inner_height: height} = maps[0].figure;
    if (!(width > 0 && height > 0)) return;
    mapAspect = width / height;
    showMaps();
    showActivations();
    fitMaps();
  }
  function tiling(shape) {
    const [channels, height, width] = volume(shape);
    const gap = height * width > 1 ? 1 : 0;
    // Of the shape of the frame.
    const columns = Math.min(channels,
      Math.max(1, Math.ceil(Math.sqrt(mapAspect * channels * (height + gap) / (width + gap)))));
    const rows = Math.ceil(channels / columns);
    const pitch = [height + gap, width + gap];
    return {channels, height, width, columns, pitch,
      fullHeight: rows * pitch[0] - gap, fullWidth: columns * pitch[1] - gap};
  }
  function mosaic(values, tiles) {
    const image = new Float32Array(tiles.fullHeight * tiles.fullWidth).fill(NaN);
    let neuron = 0;
    for (let channel = 0; channel < tiles.channels; channel++) {
      const top = Math.floor(channel / tiles.columns) * tiles.pitch[0];
      const left = (channel % tiles.columns) * tiles.pitch[1];
      for (let y = 0; y < tiles.height; y++) {
        for (let x = 0; x < tiles.width; x++) {
          image[(top + y) * tiles.fullWidth + left + x] = values[neuron++];
        }
      }
    }
    return image;
  }
  function drawMap(map, values, shape, low, high) {
    const tiles = tiling(shape);
    map.mapper.setv({low, high: high > low ? high : low + 1});
    map.values = values;
    const image = ndarray(mosaic(values, tiles).buffer,
      {dtype: "float32", shape: [tiles.fullHeight, tiles.fullWidth]});
    map.source.data = {image: [image], width: [tiles.fullWidth], height: [tiles.fullHeight]};
  }
  // Square pixels: the ranges follow the frame's shape.
  function fitMaps() {
    const {fullHeight, fullWidth} = tiling(shapes[layerName()]);
    const figure = maps[0].figure;
    const scale = Math.max(fullHeight, fullWidth / mapAspect);
    const marginX = (scale * mapAspect - fullWidth) / 2;
    const marginY = (scale - fullHeight) / 2;
    const x = {start: -marginX, end: fullWidth + marginX};
    const y = {start: fullHeight + marginY, end: -marginY};
    for (const [range, {start, end}] of [[figure.x_range, x], [figure.y_range, y]]) {
      range.setv({start, end, reset_start: start, reset_end: end});
    }
  }
  // Where a colour scale ends. A few neurons at the border of a map would darken all
  // others, so of many neurons the uppermost 0.5 % share the last colour.
  function scaleEnd(values) {
    const sorted = Float64Array.from(values).sort();
    const most = sorted[sorted.length - 1];
    const end = sorted[Math.ceil(0.995 * sorted.length) - 1];
    return end > 0 ? end : most;
  }
  function correlation(a, b) {
    const n = a.length;
    let sumA = 0, sumB = 0;
    for (let i = 0; i < n; i++) { sumA += a[i]; sumB += b[i]; }
    let ab = 0, aa = 0, bb = 0;
    for (let i = 0; i < n; i++) {
      const u = a[i] - sumA / n, v = b[i] - sumB / n;
      ab += u * v; aa += u * u; bb += v * v;
    }
    return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : NaN;
  }
  function showMaps() {
    const name = layerName();
    const found = entry(name, state.picture);
    const counts = countsUpTo(found, state.cursor);
    const most = found.counts.reduce((a, b) => Math.max(a, b), 0);
    const end = scaleEnd(found.counts);
    drawMap(maps[0], counts, shapes[name], 0, end);
    element("maps-title").textContent = `Feature maps of ${name} (${sizeText(shapes[name])})`;
    const notes = [];
    if (!found.recorded) notes.push("Its spikes were not recorded: the counts are those at the end.");
    if (maps[1] && !found.cnn) notes.push("There are no activations of this layer.");
    element("maps-note").textContent = notes.join(" ")
      || (end < most
        ? `The colour scales end where 0.5 % of the neurons lie above: at ${whole(end)} spikes, of at most ${whole(most)}.`
        : `The colour scale of the spikes ends at ${whole(most)}, the most of any neuron at the end.`);
    const r = found.cnn ? correlation(counts, found.cnn) : NaN;
    element("shown-correlation").textContent = Number.isNaN(r) ? "–" : r.toFixed(3);
    const total = counts.reduce((a, b) => a + b, 0);
    element("shown-spikes").textContent = `${whole(total)} of ${whole(found.total)}`;
    const until = found.recorded ? state.cursor : steps;
    const rate = until ? 1000 * total / (found.size * until * dt) : NaN;
    element("shown-rate").textContent = until ? `${rate.toFixed(2)} Hz` : "–";
  }
  function showActivations() {
    if (!maps[1]) return;
    const name = layerName();
    const {cnn, size} = entry(name, state.picture);
    const values = cnn ?? new Float64Array(size).fill(NaN);
    const low = values.reduce((a, b) => Math.min(a, b), 0);
    drawMap(maps[1], values, shapes[name], low, scaleEnd(values));
  }

  // ---- The picture and its spikes
  function drawPicture(canvas, values) {
    const [channels, height, width] = run.inputShape;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const place = height * width;
    for (let i = 0; i < place; i++) {
      for (let c = 0; c < 3; c++) {
        pixels.data[4 * i + c] = values[(channels === 3 ? c * place : 0) + i];
      }
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }
  function showPicture() {
    const {image, index} = run.pictures[state.picture];
    const canvas = element("input-picture");
    canvas.parentElement.hidden = !image;
    if (image) {
      drawPicture(canvas, unpack(image));
      canvas.setAttribute("aria-label", `picture ${index}`);
    }
  }
  function showInputSpikes() {
    const canvas = element("input-spikes");
    const known = "input" in run.pictures[state.picture].layers;
    canvas.parentElement.hidden = !known;
    if (!known) return;
    const found = entry("input", state.picture);
    const counts = countsUpTo(found, state.cursor);
    const until = found.recorded ? state.cursor : steps;
    // As bright as the picture, where a pixel spikes as often as expected.
    const scale = 255 / Math.max(1, until * run.inputRate);
    drawPicture(canvas, counts.map((n) => n * scale));
    const total = counts.reduce((a, b) => a + b, 0);
    element("input-caption").textContent = `${whole(total)} input spikes`;
    canvas.setAttribute("aria-label", `input spikes up to the cursor, ${whole(total)}`);
  }

  // ---- Outputs: a race of the classes
  const MOST_BARS = 12;
  function racers() {
    const {counts} = entry(run.outputs, state.picture);
    const all = run.classes.map((_, index) => index);
    if (all.length <= MOST_BARS) return all;
    const {truth} = run.pictures[state.picture];
    const best = all.slice().sort((a, b) => counts[b] - counts[a]).slice(0, MOST_BARS);
    if (truth !== null && !best.includes(truth)) best[MOST_BARS - 1] = truth;
    return best.sort((a, b) => a - b);
  }
  function showOutputs() {
    const found = entry(run.outputs, state.picture);
    const {truth} = run.pictures[state.picture];
    const shown = racers();
    const list = element("race");
    list.replaceChildren(...shown.map((index) => {
      const line = document.createElement("li");
      for (const kind of ["name", "bar", "count"]) {
        const part = document.createElement("span");
        part.className = kind;
        line.append(part);
      }
      line.dataset.output = index;
      line.classList.toggle("true", index === truth);
      line.children[0].textContent = run.classes[index];
      line.children[0].title = run.classes[index];
      const bar = document.createElement("span");
      bar.style.background = palette[index % palette.length];
      line.children[1].append(bar);
      return line;
    }));
    const data = {t: [], n: [], color: [], width: []};
    for (const index of found.recorded ? shown : []) {
      const t = [0], n = [0];
      let count = 0;
      for (let step = 0; step < steps; step++) {
        for (let i = found.begin[step]; i < found.begin[step + 1]; i++) {
          if (found.neurons[i] !== index) continue;
          t.push(step * dt, step * dt);
          n.push(count, ++count);
        }
      }
      t.push(duration);
      n.push(count);
      data.t.push(t);
      data.n.push(n);
      data.color.push(palette[index % palette.length]);
      data.width.push(index === truth ? 4 : 2);
    }
    outputsSource.data = data;
    element("race-note").textContent = truth === null
      ? "" : "✓ and the thick line mark the truth.";
    element("outputs").hidden = !found.recorded;
  }
  function showRace() {
    const found = entry(run.outputs, state.picture);
    const {truth, decision} = run.pictures[state.picture];
    const counts = countsUpTo(found, state.cursor);
    const most = counts.reduce((a, b) => Math.max(a, b), 0);
    const longest = Math.max(1, found.counts.reduce((a, b) => Math.max(a, b), 0));
    let leaders = [];
    counts.forEach((n, index) => { if (most > 0 && n === most) leaders.push(index); });
    let text;
    if (state.cursor === steps || !found.recorded) {
      // At the end the potentials left decide between equals.
      text = run.classes[decision] + (leaders.length > 1 ? " (by potential)" : leaders.length ? "" : " (no spikes)");
      leaders = [decision];
    } else if (!leaders.length) {
      text = "none yet";
    } else if (leaders.length > 1) {
      text = `tie: ${leaders.map((index) => run.classes[index]).join(", ")}`;
    } else {
      text = run.classes[leaders[0]];
    }
    const shown = element("shown-decision");
    shown.textContent = text;
    shown.className = truth === null || leaders.length !== 1 ? "" : leaders[0] === truth ? "right" : "wrong";
    element("shown-truth").textContent = truth === null ? "–" : run.classes[truth];
    for (const line of element("race").children) {
      const index = Number(line.dataset.output);
      line.classList.toggle("leads", leaders.includes(index));
      line.children[1].firstChild.style.width = `${100 * counts[index] / longest}%`;
      line.children[2].textContent = whole(counts[index]);
    }
  }

  // ---- Changes
  function showCursor() {
    const input = element("cursor");
    input.value = state.cursor;
    input.setAttribute("aria-valuetext", timeText(state.cursor));
    element("cursor-time").textContent = `${timeText(state.cursor)} of ${timeText(steps)}`;
    for (const cursor of cursors) cursor.location = (state.cursor - 0.5) * dt;
    showMaps();
    showInputSpikes();
    showRace();
  }
  function showAll() {
    element("picture").value = state.picture;
    layerOptions();
    element("layer").value = state.layer;
    showRaster();
    showActivations();
    fitMaps();
    showPicture();
    showOutputs();
    showCursor();
  }
  function setCursor(step) {
    const next = Math.max(0, Math.min(steps, Math.round(step)));
    if (next === state.cursor) return;
    state.cursor = next;
    showCursor();
  }
  function setPicture(index) {
    state.picture = (index + run.pictures.length) % run.pictures.length;
    showAll();
  }
  function setLayer(index) {
    state.layer = (index + run.layers.length) % run.layers.length;
    showAll();
  }

  // ---- Controls
  function layerOptions() {
    element("layer").replaceChildren(...run.layers.map(({name, shape}, index) => {
      const {total, recorded} = entry(name, state.picture);
      const text = `${name} (${sizeText(shape)}), ${whole(total)} spikes${recorded ? "" : ", not recorded"}`;
      return new Option(text, index);
    }));
  }
  element("picture").replaceChildren(...run.pictures.map(({index, truth, decision}, place) => {
    const said = run.classes[decision];
    const text = truth === null ? `no. ${index}: decision ${said}`
      : truth === decision ? `no. ${index}: ${said}, right`
        : `no. ${index}: ${run.classes[truth]}, taken for ${said}`;
    return new Option(text, place);
  }));
  element("picture").addEventListener("change", (event) => setPicture(Number(event.target.value)));
  element("layer").addEventListener("change", (event) => setLayer(Number(event.target.value)));
  const slider = element("cursor");
  slider.max = steps;
  slider.addEventListener("input", () => setCursor(Number(slider.value)));

  let timer = null;
  function play(on) {
    const button = element("play");
    clearInterval(timer);
    timer = null;
    button.textContent = on ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(on));
    // Not every step is to be read out.
    element("status").setAttribute("aria-live", on ? "off" : "polite");
    if (!on) return;
    if (state.cursor === steps) setCursor(0);
    // About eight seconds, whatever the number of steps.
    const stride = Math.max(1, Math.round(steps / 160));
    timer = setInterval(() => {
      setCursor(state.cursor + stride);
      if (state.cursor === steps) play(false);
    }, Math.max(50, 8000 / steps));
  }
  element("play").addEventListener("click", () => play(timer === null));

  function zoomTime(factor) {
    const at = Math.max(times.start, Math.min(times.end, (state.cursor - 0.5) * dt));
    const start = Math.max(-dt / 2, at - (at - times.start) * factor);
    const end = Math.min(duration - dt / 2, at + (times.end - at) * factor);
    if (end - start >= dt) times.setv({start, end});
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0];
    const isSlider = target === slider;
    if (target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && !isSlider)) return;
    const by = event.shiftKey ? 10 : 1;
    const isButton = target instanceof HTMLButtonElement || target.tagName === "SUMMARY";
    const actions = {
      ArrowRight: () => setCursor(state.cursor + by),
      ArrowLeft: () => setCursor(state.cursor - by),
      Home: () => setCursor(0),
      End: () => setCursor(steps),
      "+": () => zoomTime(0.5),
      "=": () => zoomTime(0.5),
      "-": () => zoomTime(2),
      0: () => times.setv({start: -dt / 2, end: duration - dt / 2}),
      Escape: () => select(null),
      p: () => setPicture(state.picture + 1),
      P: () => setPicture(state.picture - 1),
      l: () => setLayer(state.layer + 1),
      L: () => setLayer(state.layer - 1),
    };
    if (!isButton) actions[" "] = () => play(timer === null);
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  element("clear").addEventListener("click", () => { select(null); slider.focus(); });

  for (const range of [times, raster.y_range]) {
    for (const end of ["start", "end"]) range.properties[end].change.connect(drawRaster);
  }
  for (const side of ["inner_width", "inner_height"]) {
    raster.properties[side].change.connect(drawRaster);
    maps[0].figure.properties[side].change.connect(refitMaps);
  }
  raster.on_event("tap", (event) => setCursor(Math.round(event.x / dt) + 1));
  raster.on_event("selectiongeometry", (event) => { if (event.final) select(event.geometry); });

  // ---- What is under the pointer
  const pointer = {x: 0, y: 0};
  document.addEventListener("pointermove", (event) => {
    pointer.x = event.clientX;
    pointer.y = event.clientY;
  }, {capture: true});
  function tip(text) {
    const box = element("tip");
    box.hidden = !text;
    if (!text) return;
    box.textContent = text;
    const {width, height} = box.getBoundingClientRect();
    box.style.left = `${Math.min(pointer.x + 14, window.innerWidth - width - 8)}px`;
    box.style.top = `${pointer.y + 18 + height > window.innerHeight ? pointer.y - height - 10 : pointer.y + 18}px`;
  }
  raster.on_event("mousemove", ({x, y}) => {
    const spike = spikeNear(x, y);
    tip(spike && `${placeText(spike[1], shapes[layerName()])}\ntime ${timeText(spike[0])}`);
  });
  for (const map of maps) {
    map.figure.on_event("mousemove", (event) => {
      const shape = shapes[layerName()];
      const {channels, height, width, columns, pitch} = tiling(shape);
      const column = Math.floor(event.x / pitch[1]), row = Math.floor(event.y / pitch[0]);
      const y = Math.floor(event.y - row * pitch[0]), x = Math.floor(event.x - column * pitch[1]);
      const channel = row * columns + column;
      const isInside = column >= 0 && column < columns && row >= 0 && channel < channels && y < height && x < width;
      const neuron = (channel * height + y) * width + x;
      const value = isInside ? map.values[neuron] : NaN;
      tip(!Number.isNaN(value) && `${placeText(neuron, shape)}\n`
        + (map === maps[0] ? `${whole(value)} ${value === 1 ? "spike" : "spikes"}` : `activation ${Number(value.toPrecision(4))}`));
    });
  }
  for (const place of Object.keys(items)) {
    element(place).addEventListener("pointerleave", () => tip(null));
  }

  // ---- Theme
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let theme = prefersDark.matches ? "dark" : "light";
  function showTheme() {
    document.documentElement.dataset.theme = theme;
    element("theme").textContent = theme === "dark" ? "Light theme" : "Dark theme";
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const [text, soft, line, accent] = ["text", "soft", "line", "accent"].map(color);
    const font = "system-ui, sans-serif";
    const figures = ["raster", "rate"].map((n) => model("raster", n))
      .concat(maps.map((map) => map.figure), model("outputs", "outputs"));
    for (const figure of figures) {
      figure.outline_line_color = line;
      figure.title?.setv?.({text_color: text, text_font: font, text_font_size: "13px"});
      for (const part of [...figure.left, ...figure.below, ...figure.right, ...figure.center]) {
        if (part.type === "LinearAxis") {
          part.setv({
            axis_label_text_color: text, axis_label_text_font: font,
            axis_label_text_font_style: "normal", axis_label_text_font_size: "13px",
            major_label_text_color: soft, major_label_text_font: font,
            major_label_text_font_size: "12px",
            axis_line_color: soft, major_tick_line_color: soft, minor_tick_line_color: null,
          });
        } else if (part.type === "Grid") {
          part.setv({grid_line_color: line, grid_line_alpha: 0.6});
        } else if (part.type === "ColorBar") {
          part.setv({
            background_fill_color: null, title_text_color: text, title_text_font: font,
            title_text_font_style: "normal", title_text_font_size: "12px",
            major_label_text_color: soft, major_label_text_font: font,
            major_label_text_font_size: "12px", major_tick_line_color: soft,
          });
        } else if (part.name === "cursor") {
          part.line_color = text;
        }
      }
    }
    model("raster", "rate_line").glyph.line_color = {value: accent};
    model("raster", "selected_line").glyph.line_color = {value: "#e0762c"};
  }
  element("theme").addEventListener("click", () => {
    theme = theme === "dark" ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", () => {
    theme = prefersDark.matches ? "dark" : "light";
    showTheme();
  });

  document.querySelector("h1").textContent = document.title;
  const part = run.pictures.length < run.nImages ? `${run.pictures.length} of ${run.nImages}` : `${run.nImages}`;
  element("summary").textContent =
    `${part} pictures, ${timeText(steps)} in steps of ${timeText(1)}, seed ${run.seed}; thresholds `
    + Object.entries(run.thresholds).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(", ");
  showTheme();
  showAll();
  refitMaps();
  document.documentElement.dataset.ready = "yes";
})();
