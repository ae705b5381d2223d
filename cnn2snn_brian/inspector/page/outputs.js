// The outputs: a race of the classes.

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
