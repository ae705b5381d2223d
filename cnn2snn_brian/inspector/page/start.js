// The start, after everything is defined.

document.querySelector("h1").textContent = document.title;
const part = run.pictures.length < run.nImages ? `${run.pictures.length} of ${run.nImages}` : `${run.nImages}`;
element("summary").textContent =
  `${part} ${"stimulus" in run.pictures[0] ? "trials" : "pictures"}, ${timeText(steps)} in steps of ${timeText(1)}, seed ${run.seed}; thresholds `
  + Object.entries(run.thresholds).map(([name, value]) => `${name} ${value}`).join(", ");
showTheme();
showAll();
refitMaps();
document.documentElement.dataset.ready = "yes";
