"""Bokeh figures of the inspector, without data: the page's script fills them."""

from typing import Any

from cnn2snn_brian.checks import optional_library


def _raster(plotting: Any, models: Any, x_range: Any) -> Any:
    raster = plotting.figure(
        name="raster",
        x_range=x_range,
        y_range=models.Range1d(0, 1),
        height=540,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag="box_zoom",
        active_scroll=None,
        y_axis_label="channel",
    )
    # The page's script finds what is in the box: the spikes are no glyphs.
    raster.add_tools(models.BoxSelectTool(name="raster_select", renderers=[]))
    source = models.ColumnDataSource(
        {name: [] for name in ("image", "x", "y", "width", "height")},
        name="raster_source",
    )
    # Markers take seconds a frame for 150,000 spikes where WebGL has no graphics card.
    # The script draws the spikes in view as an image of the frame's pixels instead.
    raster.image_rgba(
        image="image", x="x", y="y", dw="width", dh="height", source=source
    )
    raster.yaxis.ticker = models.BasicTicker(min_interval=1, num_minor_ticks=0)
    raster.xaxis.visible = False
    return raster


def _rate(plotting: Any, models: Any, x_range: Any) -> Any:
    rate = plotting.figure(
        name="rate",
        x_range=x_range,
        y_range=models.DataRange1d(start=0, name="rate_range"),
        height=170,
        sizing_mode="stretch_width",
        tools="",
        x_axis_label="time (ms)",
        y_axis_label="mean rate (Hz)",
    )
    source = models.ColumnDataSource(
        {"t": [], "rate": [], "selected": [], "trials": []}, name="rate_source"
    )
    rate.step("t", "rate", source=source, mode="after", name="rate_line", line_width=2)
    rate.step(
        "t",
        "selected",
        source=source,
        mode="after",
        name="selected_line",
        line_width=2,
        line_dash="dashed",
    )
    # Of several trials of a stimulus: their mean.
    rate.step(
        "t",
        "trials",
        source=source,
        mode="after",
        name="trials_line",
        line_width=2,
    )
    return rate


def _cursor(models: Any) -> Any:
    return models.Span(
        location=0, dimension="height", name="cursor", line_width=2, line_dash="solid"
    )


def _map(plotting: Any, models: Any, name: str, title: str, what: str) -> Any:
    figure = plotting.figure(
        name=f"map_{name}",
        title=title,
        height=380,
        sizing_mode="stretch_width",
        x_range=models.Range1d(0, 1),
        y_range=models.Range1d(1, 0),
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag="box_zoom",
        active_scroll=None,
        toolbar_location="above",
    )
    source = models.ColumnDataSource(
        {"image": [], "width": [], "height": []},
        name=f"map_{name}_source",
    )
    palettes = optional_library("bokeh.palettes", "inspector", "The inspector")
    mapper = models.LinearColorMapper(
        palette=palettes.Viridis256,
        low=0,
        high=1,
        nan_color="rgba(0, 0, 0, 0)",
        name=f"map_{name}_mapper",
    )
    figure.image(
        image="image",
        x=0,
        y=0,
        dw="width",
        dh="height",
        source=source,
        color_mapper=mapper,
    )
    bar = models.ColorBar(
        color_mapper=mapper,
        title=what,
        width=12,
        label_standoff=6,
        name=f"map_{name}_bar",
    )
    figure.add_layout(bar, "right")
    figure.axis.visible = False
    figure.grid.visible = False
    return figure


def _outputs(plotting: Any, models: Any, duration: float) -> Any:
    figure = plotting.figure(
        name="outputs",
        height=230,
        sizing_mode="stretch_width",
        x_range=models.Range1d(0, duration),
        y_range=models.DataRange1d(start=0),
        tools="pan,box_zoom,reset,save",
        active_drag="box_zoom",
        x_axis_label="time (ms)",
        y_axis_label="output spikes",
    )
    source = models.ColumnDataSource(
        {name: [] for name in ("t", "n", "color", "width")},
        name="outputs_source",
    )
    figure.multi_line("t", "n", source=source, line_color="color", line_width="width")
    figure.add_layout(_cursor(models))
    return figure


def figures(duration: float, step: float, *, with_cnn: bool) -> dict[str, Any]:
    """Make the figures."""
    plotting = optional_library("bokeh.plotting", "inspector", "The inspector")
    models = optional_library("bokeh.models", "inspector", "The inspector")
    layouts = optional_library("bokeh.layouts", "inspector", "The inspector")
    # Half a step of room: a spike is drawn at the start of its step.
    times = models.Range1d(-step / 2, duration - step / 2, name="times")
    raster, rate = _raster(plotting, models, times), _rate(plotting, models, times)
    for figure in (raster, rate):
        figure.add_layout(_cursor(models))
        # The two share their time axis, so their frames are flush.
        figure.min_border_left = 75
        figure.min_border_right = 20
    maps = [_map(plotting, models, "snn", "SNN: spikes up to the cursor", "spikes")]
    if with_cnn:
        maps.append(_map(plotting, models, "cnn", "CNN: activations", "activation"))
        maps[1].x_range, maps[1].y_range = maps[0].x_range, maps[0].y_range
    outputs = _outputs(plotting, models, duration)
    for figure in (raster, rate, *maps, outputs):
        # The page's card is the background; what is drawn first leaves its edges.
        figure.background_fill_color = None
        figure.border_fill_color = None
        figure.outline_line_color = None
        figure.toolbar.logo = None
        # Colours of the page's theme reach into Bokeh's parts as variables.
        figure.toolbar.stylesheets = [".bk-divider { background-color: var(--line) }"]
    return {
        "raster": layouts.column([raster, rate], sizing_mode="stretch_width"),
        "maps": layouts.row(maps, sizing_mode="stretch_width"),
        "outputs": outputs,
    }
