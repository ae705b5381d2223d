// The image and its input spikes.

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
// Frames of stimuli, unpacked when they are looked at first.
const framesOf = new Map();
function framesShown(stimulus) {
  const packedFrames = run.stimuli[stimulus];
  if (!packedFrames) return null;
  if (!framesOf.has(stimulus)) {
    framesOf.set(stimulus, {frames: unpack(packedFrames.frames), shown: unpack(packedFrames.shown)});
  }
  return framesOf.get(stimulus);
}
// The frame at the cursor: that of the last step in front of it.
function showFrame() {
  const known = framesShown(run.pictures[state.picture].stimulus);
  if (!known) return;
  const size = run.inputShape.reduce((a, b) => a * b, 1);
  const last = known.shown.length - 1;
  const frame = known.shown[Math.max(0, Math.min(last, state.cursor - 1))];
  const canvas = element("input-picture");
  drawPicture(canvas, known.frames.subarray(frame * size, (frame + 1) * size));
  canvas.setAttribute("aria-label", `frame ${frame}`);
  element("picture-caption").textContent = `frame ${frame}`;
}
function showPicture() {
  const {image, index, stimulus} = run.pictures[state.picture];
  const canvas = element("input-picture");
  canvas.parentElement.hidden = !image && !framesShown(stimulus);
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
  const size = run.inputShape.reduce((a, b) => a * b, 1);
  // Of ON and OFF cells, what both say, around mid-grey.
  drawPicture(canvas, counts.length === size ? counts.map((n) => n * scale)
    : Array.from({length: size}, (_, i) => 128 + (counts[i] - counts[i + size]) * scale / 2));
  const total = counts.reduce((a, b) => a + b, 0);
  element("input-caption").textContent = `${whole(total)} input spikes`;
  canvas.setAttribute("aria-label", `input spikes up to the cursor, ${whole(total)}`);
}
