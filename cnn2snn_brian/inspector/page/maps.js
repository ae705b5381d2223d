// Feature maps: the channels as tiles, with a gap of a pixel between maps.

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
