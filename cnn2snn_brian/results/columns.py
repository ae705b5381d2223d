"""What all exports say of neurons, rows and items: columns of one name and meaning."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, from_neurons, index_of
from cnn2snn_brian.spikes import SpikeData

#: Columns of neurons, with their units.
NEURON_COLUMNS = {
    "layer": "layer of the network, or input",
    "channel": "channel of the neuron, or the unit of a linear layer",
    "y": "row of the neuron on the map of its layer; -1 in a linear layer",
    "x": "column of the neuron on the map of its layer; -1 in a linear layer",
    "rf_y": "centre of the receptive field, in pixels down from that of the first row",
    "rf_x": "centre of the receptive field, in pixels to the right of the first column",
    "rf_height": "height of the receptive field, in pixels",
    "rf_width": "width of the receptive field, in pixels",
    "rf_elevation_deg": "centre of the receptive field, in degrees above the centre of "
    "the image",
    "rf_azimuth_deg": "centre of the receptive field, in degrees to the right of the "
    "centre of the image",
    "rf_height_deg": "height of the receptive field, in degrees",
    "rf_width_deg": "width of the receptive field, in degrees",
}


@dataclass(frozen=True, eq=False)
class Chosen:
    """
    Neurons of one layer, and what is known of each.

    Attributes
    ----------
    layer : str
        The layer.
    index : ndarray of int64, shape (n,)
        Indices into the flat array of the layer, in torch's order.
    columns : dict of str to ndarray, shape (n,)
        By the names of `NEURON_COLUMNS`, without ``layer``.
    """

    layer: str
    index: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[Any]]

    def some(self, which: npt.NDArray[np.bool_]) -> "Chosen":
        """Leave neurons out."""
        columns = {name: column[which] for name, column in self.columns.items()}
        return Chosen(self.layer, self.index[which], columns)


@dataclass(frozen=True)
class Selection:
    """
    Which neurons an export has.

    Attributes
    ----------
    layers : iterable of str, optional
        Layers; by default those of `neurons`, or all that the export can have.
    neurons : dict of str to iterable of tuple of int, optional
        Neurons of a layer, (channel, y, x) or (unit,), as `Layers.column` and
        `Layers.sample` give them; by default all. Those of other layers are left out.
    pixel_size_deg : float, optional
        Degrees of visual angle of a pixel.
    """

    layers: Iterable[str] | None = None
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None
    pixel_size_deg: float | None = None

    def __post_init__(self) -> None:
        size = self.pixel_size_deg
        number = isinstance(size, int | float | np.number) and not isinstance(
            size, bool
        )
        if size is not None and not (number and 0 < size < math.inf):
            raise InputError(f"pixel_size_deg is {size!r}, expected degrees above 0")

    def of(
        self, result: SpikeData, known: Collection[str], when: str = ""
    ) -> list[Chosen]:
        """Find the neurons."""
        neurons = self.neurons or {}
        if self.layers is not None:
            names = [self.layers] if isinstance(self.layers, str) else [*self.layers]
        else:
            chosen = known if self.neurons is None else neurons
            names = [name for name in result.shapes if name in chosen]
        if not names:
            raise InputError("no layer is named to export")
        for name in names:
            if name not in known:
                raise InputError(
                    f"spikes of {name!r} were not recorded{when}; recorded are "
                    f"{', '.join(sorted(known))}. Ask for them: "
                    f"run(..., record=[{name!r}])"
                )
        if len({*names}) < len(names):
            raise InputError(f"layers name one of them twice: {', '.join(names)}")
        if self.pixel_size_deg is not None and not result.receptive_fields:
            raise InputError(
                "pixel_size_deg is given, but version 0.1.0 saved this result without "
                "receptive fields"
            )
        for name in neurons:
            if name not in result.shapes:
                raise InputError(f"neurons of {name!r}: there is no such layer")
        return [self._of_layer(result, name, neurons.get(name)) for name in names]

    def _of_layer(self, result: SpikeData, name: str, places: Any) -> Chosen:
        shape = result.shapes[name]
        index = np.arange(math.prod(shape))
        if places is not None:
            index = index_of(f"neurons of {name!r}", places, shape)
            if len(np.unique(index)) < len(index):
                raise InputError(f"neurons of {name!r} name one of them twice")
        at = np.unravel_index(index, shape)
        none = np.full(len(index), -1)
        channel, y, x = at if len(at) == 3 else (*at, none, none)
        columns: dict[str, Any] = {"channel": channel, "y": y, "x": x}
        fields = result.receptive_fields.get(name)
        if fields is not None:
            # A linear layer has one row and one column for each unit.
            seen = [
                (
                    fields.centres(axis)[channel, place],
                    fields.sizes(axis)[channel, place],
                )
                for axis, place in ((0, np.maximum(y, 0)), (1, np.maximum(x, 0)))
            ]
            (rf_y, height), (rf_x, width) = seen
            columns |= {"rf_y": rf_y, "rf_x": rf_x}
            columns |= {"rf_height": height, "rf_width": width}
            if self.pixel_size_deg is not None:
                size = float(self.pixel_size_deg)
                middle = [(n - 1) / 2 for n in result.shapes[INPUT][1:]]
                columns |= {
                    "rf_elevation_deg": (middle[0] - rf_y) * size,
                    "rf_azimuth_deg": (rf_x - middle[1]) * size,
                    "rf_height_deg": height * size,
                    "rf_width_deg": width * size,
                }
        return Chosen(name, index, columns)


def neuron_columns(chosen: Sequence[Chosen]) -> dict[str, npt.NDArray[Any]]:
    """Put the columns of several layers together."""
    sizes = [len(own.index) for own in chosen]
    found = {"layer": np.repeat([own.layer for own in chosen], sizes)}
    for name in NEURON_COLUMNS:
        columns = [own.columns[name] for own in chosen if name in own.columns]
        if columns:
            found[name] = np.concatenate(columns)
    return found


def row_columns(
    result: SpikeData, labels: Any = None, taken: Iterable[str] = ()
) -> dict[str, list[Any]]:
    """Say what each row of a result is."""
    trials, of_row = result.trials, result.stimulus_of_row
    names = [f"image {k}" for k in of_row]
    if trials is not None:
        names = [str(trials.names[k]) for k in of_row]
    found: dict[str, list[Any]] = {
        "stimulus": of_row.tolist(),
        "stimulus_name": names,
        "repeat": result.repeat_of_row.tolist(),
        "prediction": result.predictions.tolist(),
    }
    reserved = {*found, "label", *taken}
    truth = _label_of_row(labels, result)
    if truth is not None:
        found["label"] = truth
    made_with = () if trials is None else trials.parameters
    for key in dict.fromkeys(key for own in made_with for key in own):
        name = f"parameter_{key}" if key in reserved else key
        found[name] = [float(made_with[k].get(key, np.nan)) for k in of_row]
    return found


def _label_of_row(labels: Any, result: SpikeData) -> list[Any] | None:
    """Give each row its label; labels of stimuli hold for all of their trials."""
    if labels is None:
        return None
    # In their order: a Series of pandas, asked for 0, gives what is called 0.
    labels = labels.tolist() if hasattr(labels, "tolist") else [*labels]
    n_images, repeats = result.n_images, result.n_repeats
    if len(labels) * repeats == n_images:
        labels = [labels[k] for k in result.stimulus_of_row]
    if len(labels) != n_images:
        of = "pictures" if repeats == 1 else "trials"
        raise InputError(f"{n_images} {of}, but {len(labels)} labels")
    return of_one_kind(labels)


def item_columns(result: SpikeData) -> dict[str, list[Any]]:
    """List what the rows of a result showed one after another."""
    trials = result.trials
    names = ("row", "item", "onset_s", "duration_s", "label")
    if trials is None or not trials.items:
        return {name: [] for name in names}
    rows = [
        (row, k, *item)
        for row, stimulus in enumerate(result.stimulus_of_row)
        for k, item in enumerate(trials.items[stimulus])
    ]
    found = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    return found | {"label": of_one_kind(found["label"])}


def of_one_kind(values: Iterable[Any]) -> list[Any]:
    """Make the values of a column numbers, or else texts."""
    found = [v.item() if isinstance(v, np.generic) else v for v in values]
    return [*map(str, found)] if any(isinstance(v, str) for v in found) else found


Steps = npt.NDArray[np.signedinteger[Any]]

#: What a session is called where a format asks for it.
SESSION = "Simulated trials of a converted CNN (cnn2snn-brian)"


def session_start(start: datetime | None) -> datetime:
    """Say when a session started: now, or when it is said to have."""
    began = datetime.now(timezone.utc) if start is None else start
    if began.tzinfo is None:
        raise InputError(f"start is {start}, without a time zone")
    return began


def steps_by_neuron(
    result: SpikeData, chosen: Chosen, rows: Iterable[int], starts: Steps | None = None
) -> tuple[Steps, Steps]:
    """Put the spikes of a layer together, neuron after neuron."""
    shape = result.shapes[chosen.layer]
    n = len(chosen.index)
    # Which of the chosen each neuron of the Brian2 group is; n if it is none of them.
    # The smaller the type, the faster numpy sorts.
    rank = np.full(math.prod(shape), n, np.min_scalar_type(n))
    rank[from_neurons(np.arange(len(rank)), shape).ravel()[chosen.index]] = range(n)
    # Of 100 million spikes, each byte less is 100 MB.
    least: Any = np.int32 if starts is None or starts.max() < 2**30 else np.int64
    ranks, steps = [np.zeros(0, rank.dtype)], [np.zeros(0, least)]
    for row in rows:
        neuron, step = result.recorded[chosen.layer, row]
        own = rank[neuron]
        kept = own < n
        ranks.append(own[kept])
        first = 0 if starts is None else starts[row]
        steps.append(step[kept].astype(least) + least(first))
    found = np.concatenate(ranks)
    order = np.argsort(found, kind="stable")  # spikes of a neuron stay in order
    return np.bincount(found, minlength=n), np.concatenate(steps)[order]


@dataclass(frozen=True)
class Session:
    """
    All rows of a result on one clock.

    A row starts one time step after the end of the one before: an interval is closed in
    most programs, and a spike at the end of one would belong to the next one too.

    Attributes
    ----------
    result : SpikeData
        The result.
    """

    result: SpikeData

    @cached_property
    def first(self) -> Steps:
        """First step of each row."""
        ends = np.cumsum(self.result.steps_of_row + 1)
        return np.concatenate([[0], ends[:-1]]).astype(np.int64)

    @property
    def intervals(self) -> npt.NDArray[np.float64]:
        """Start and stop of each row in seconds, of shape (n_images, 2)."""
        both = np.stack([self.first, self.first + self.result.steps_of_row], axis=1)
        return np.asarray(both * self.result.dt_s)

    @property
    def layers(self) -> list[str]:
        """Layers that were recorded, in the order of the network."""
        found = {name for name, _ in self.result.recorded}
        return [name for name in self.result.shapes if name in found]

    def rows_of(self, layer: str) -> list[int]:
        """List the rows that a layer was recorded in."""
        return sorted(row for name, row in self.result.recorded if name == layer)

    def spikes(self, chosen: Chosen) -> tuple[Steps, npt.NDArray[np.float64]]:
        """Give the spike times of neurons, neuron after neuron."""
        rows = self.rows_of(chosen.layer)
        counts, steps = steps_by_neuron(self.result, chosen, rows, self.first)
        return counts, np.asarray(steps * self.result.dt_s)

    def observed(self, layer: str) -> npt.NDArray[np.float64]:
        """Give the intervals that a layer was recorded in."""
        result = self.result
        windows: list[list[int]] = []
        for begin, end in () if layer == result.output_layer else result.windows:
            if windows and windows[-1][1] == begin:  # intervals must not touch
                windows[-1][1] = end
            else:
                windows.append([begin, end])
        found: list[Any] = []
        for row in self.rows_of(layer):
            n_steps = int(result.steps_of_row[row])
            for begin, end in windows or [[0, n_steps]]:
                if begin < n_steps:
                    both = np.array([begin, min(end, n_steps)])
                    found.append((self.first[row] + both) * result.dt_s)
        return np.array(found).reshape(-1, 2)
