// What changes what is shown: controls, keyboard, and the figures' own tools.

function showCursor() {
  const input = element("cursor");
  input.value = state.cursor;
  input.setAttribute("aria-valuetext", timeText(state.cursor));
  element("cursor-time").textContent = `${timeText(state.cursor)} of ${timeText(steps)}`;
  for (const cursor of cursors) cursor.location = (state.cursor - 0.5) * dt;
  showMaps();
  showFrame();
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

// Controls.
function layerOptions() {
  element("layer").replaceChildren(...run.layers.map(({name, shape, cells}, index) => {
    const {total, recorded} = entry(name, state.picture);
    const text = `${name} (${cells ? `${cells}, ` : ""}${sizeText(shape)}), ${whole(total)} spikes${recorded ? "" : ", not recorded"}`;
    return new Option(text, index);
  }));
}
element("picture").replaceChildren(...run.pictures.map((picture, place) => {
  const {index, truth, decision} = picture;
  const said = run.classes[decision];
  const text = "stimulus" in picture
    ? `${picture.stimulusName}, trial ${picture.repeat}: decision ${said}`
    : truth === null ? `no. ${index}: decision ${said}`
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
