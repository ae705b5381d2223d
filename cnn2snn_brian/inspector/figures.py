"""
Bokeh figures of the inspector, without data: the page's script fills them.

Imported where a page is made, as not everyone has Bokeh.
"""

from typing import Any

from bokeh import layouts, models
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

TOOLS = {
    "tools": "pan,box_zoom,wheel_zoom,reset,save",
    "active_drag": "box_zoom",
    "active_scroll": None,
}


def _figure(name: str, height: int, **options: Any) -> Any:
    plot = figure(
        name=name,
        height=height,
        sizing_mode="stretch_width",
        # The page's card is the background; what is drawn first leaves its edges.
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **options,
    )
    plot.toolbar.logo = None
    # Colours of the page's theme reach into Bokeh's parts as variables.
    plot.toolbar.stylesheets = [".bk-divider { background-color: var(--line) }"]
    return plot


def _source(name: str, *columns: str) -> Any:
    return models.ColumnDataSource(dict.fromkeys(columns, ()), name=f"{name}_source")


def _add_cursor(plot: Any) -> None:
    plot.add_layout(
        models.Span(location=0, dimension="height", name="cursor", line_width=2)
    )


def _raster(times: Any) -> Any:
    raster = _figure(
        "raster", 540, x_range=times, y_range=(0, 1), y_axis_label="channel", **TOOLS
    )
    # The page's script finds what is in the box: the spikes are not glyphs.
    raster.add_tools(models.BoxSelectTool(name="raster_select", renderers=[]))
    # Markers take seconds a frame for 150,000 spikes where WebGL has no graphics card.
    # The script draws the spikes in view as an image of the frame's pixels instead.
    source = _source("raster", "image", "x", "y", "width", "height")
    raster.image_rgba("image", "x", "y", "width", "height", source=source)
    raster.yaxis.ticker = models.BasicTicker(min_interval=1, num_minor_ticks=0)
    raster.xaxis.visible = False
    return raster


def _rate(times: Any) -> Any:
    rate = _figure(
        "rate",
        170,
        x_range=times,
        y_range=models.DataRange1d(start=0, name="rate_range"),
        tools="",
        x_axis_label="time (ms)",
        y_axis_label="mean rate (Hz)",
    )
    source = _source("rate", "t", "rate", "selected", "trials")
    # Of several trials of a stimulus: their mean.
    for what, dash in (("rate", "solid"), ("selected", "dashed"), ("trials", "solid")):
        line = rate.step("t", what, source=source, mode="after", name=f"{what}_line")
        line.glyph.line_width, line.glyph.line_dash = 2, dash
    return rate


def _map(name: str, title: str, what: str) -> Any:
    name = f"map_{name}"
    plot = _figure(
        name,
        380,
        title=title,
        x_range=(0, 1),
        y_range=(1, 0),
        toolbar_location="above",
        **TOOLS,
    )
    mapper = models.LinearColorMapper(
        palette=Viridis256,
        low=0,
        high=1,
        nan_color="rgba(0, 0, 0, 0)",
        name=f"{name}_mapper",
    )
    source = _source(name, "image", "width", "height")
    plot.image("image", 0, 0, "width", "height", source=source, color_mapper=mapper)
    bar = models.ColorBar(
        color_mapper=mapper, title=what, width=12, label_standoff=6, name=f"{name}_bar"
    )
    plot.add_layout(bar, "right")
    plot.axis.visible = plot.grid.visible = False
    return plot


def _outputs(duration: float) -> Any:
    plot = _figure(
        "outputs",
        230,
        x_range=(0, duration),
        y_range=models.DataRange1d(start=0),
        tools="pan,box_zoom,reset,save",
        active_drag="box_zoom",
        x_axis_label="time (ms)",
        y_axis_label="output spikes",
    )
    source = _source("outputs", "t", "n", "color", "width")
    plot.multi_line("t", "n", source=source, line_color="color", line_width="width")
    return plot


def figures(duration: float, step: float, *, with_cnn: bool) -> dict[str, Any]:
    """Make the figures, by their place in the page."""
    # Half a step of room: a spike is drawn at the start of its step.
    times = models.Range1d(-step / 2, duration - step / 2, name="times")
    raster, rate, outputs = _raster(times), _rate(times), _outputs(duration)
    for plot in (raster, rate, outputs):
        _add_cursor(plot)
    for plot in (raster, rate):
        # The two share their time axis, so their frames are flush.
        plot.min_border_left, plot.min_border_right = 75, 20
    maps = [_map("snn", "SNN: spikes up to the cursor", "spikes")]
    if with_cnn:
        maps.append(_map("cnn", "CNN: activations", "activation"))
        maps[1].x_range, maps[1].y_range = maps[0].x_range, maps[0].y_range
    return {
        "raster": layouts.column([raster, rate], sizing_mode="stretch_width"),
        "maps": layouts.row(maps, sizing_mode="stretch_width"),
        "outputs": outputs,
    }
