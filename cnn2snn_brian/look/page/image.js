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
