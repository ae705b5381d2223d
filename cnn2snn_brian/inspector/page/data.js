// The result's data: base64 of typed arrays, unpacked when they are looked at first.

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
