// What is under the pointer.

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
