// Bokeh's figures, filled by the other scripts, and what is shown in them.

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

// What is shown.
const state = {picture: 0, layer: 0, cursor: steps, box: null};
state.layer = Math.max(0, run.layers.findIndex(
  ({name}) => name !== "input" && "spikes" in run.pictures[0].layers[name]));
const layerName = () => run.layers[state.layer].name;
