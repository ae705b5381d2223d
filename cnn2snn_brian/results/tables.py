"""What all exports say of neurons, rows and items: columns of one name and meaning."""

import math
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_names, check_number
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, from_neurons, index_of

if TYPE_CHECKING:
    from cnn2snn_brian.results.result import SimulationResult

Steps = npt.NDArray[np.signedinteger[Any]]
Columns = dict[str, npt.NDArray[Any]]

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

#: What a session is called where a format asks for it.
SESSION = "Simulated trials of a converted CNN (cnn2snn-brian)"


class Chosen(NamedTuple):
    """
    Neurons of one layer, and what is known of each.

    Attributes
    ----------
    layer : str
        The layer.
    places : ndarray of int64, shape (n,)
        Indices into the flat array of the layer, in torch's order.
    columns : dict of str to ndarray, shape (n,)
        By the names of `NEURON_COLUMNS`.
    """

    layer: str
    places: npt.NDArray[np.int64]
    columns: Columns


def field_tables(
    result: "SimulationResult", layer: str, pixel_size_deg: float | None
) -> dict[str, tuple[int, npt.NDArray[Any]]]:
    """Give columns of receptive fields: their axis, y or x, and (channels, length)."""
    fields = result.receptive_fields.get(layer)
    if pixel_size_deg is not None:
        size = check_number("pixel_size_deg", pixel_size_deg, above=0)
        if not result.receptive_fields:
            raise InputError(
                "pixel_size_deg is given, but version 0.1.0 saved this result without "
                "receptive fields"
            )
    if fields is None:
        return {}
    rf_y, rf_x = map(fields.centres, (0, 1))
    height, width = map(fields.sizes, (0, 1))
    found = {"rf_y": rf_y, "rf_x": rf_x, "rf_height": height, "rf_width": width}
    if pixel_size_deg is not None:
        _, n_rows, n_columns = result.shapes[INPUT]
        found |= {
            "rf_elevation_deg": ((n_rows - 1) / 2 - rf_y) * size,
            "rf_azimuth_deg": (rf_x - (n_columns - 1) / 2) * size,
            "rf_height_deg": height * size,
            "rf_width_deg": width * size,
        }
    # They alternate: along y, along x.
    return {name: (k % 2, table) for k, (name, table) in enumerate(found.items())}


def neuron_columns(parts: Collection[Columns]) -> Columns:
    """Put the columns of several layers together."""
    names = [name for name in NEURON_COLUMNS if all(name in own for own in parts)]
    return {name: np.concatenate([own[name] for own in parts]) for name in names}


def row_columns(
    result: "SimulationResult", labels: Any = None, taken: Iterable[str] = ()
) -> dict[str, list[Any]]:
    """Say what each row of a result is."""
    rows, of_row = result.rows, result.stimulus_of_row
    found: dict[str, list[Any]] = {
        "stimulus": of_row.tolist(),
        "stimulus_name": [str(rows.names[k]) for k in of_row],
        "repeat": rows.repeat_of_row.tolist(),
        "prediction": result.predictions.tolist(),
    }
    reserved = {*found, "label", *taken}
    if labels is not None:
        # In their order: a Series of pandas, asked for 0, gives what is called 0.
        labels = labels.tolist() if hasattr(labels, "tolist") else [*labels]
        if len(labels) * rows.n_repeats == result.n_images:  # of stimuli
            labels = [labels[k] for k in of_row]
        if len(labels) != result.n_images:
            of = "pictures" if rows.n_repeats == 1 else "trials"
            raise InputError(f"{result.n_images} {of}, but {len(labels)} labels")
        found["label"] = _of_one_kind(labels)
    for key in dict.fromkeys(key for own in rows.parameters for key in own):
        name = f"parameter_{key}" if key in reserved else key
        found[name] = [float(rows.parameters[k].get(key, np.nan)) for k in of_row]
    return found


def item_columns(result: "SimulationResult") -> dict[str, list[Any]]:
    """List what the rows of a result showed one after another."""
    items = [
        (row, k, *item)
        for row, shown in enumerate(result.rows.items_of_row)
        for k, item in enumerate(shown)
    ]
    names = ("row", "item", "onset_s", "duration_s", "label")
    found = {name: [item[k] for item in items] for k, name in enumerate(names)}
    return found | {"label": _of_one_kind(found["label"])}


def _of_one_kind(values: Iterable[Any]) -> list[Any]:
    """Make the values of a column numbers, or else texts."""
    found = [v.item() if isinstance(v, np.generic) else v for v in values]
    return [*map(str, found)] if any(isinstance(v, str) for v in found) else found


def session_record(
    result: "SimulationResult", start: datetime | None, description: str = SESSION
) -> dict[str, Any]:
    """Say what NWB asks of a session; it starts now, or when it is said to have."""
    began = datetime.now(timezone.utc) if start is None else start
    if began.tzinfo is None:
        raise InputError(f"start is {start}, without a time zone")
    return {
        "session_start_time": began,
        "session_description": description,
        "identifier": str(uuid.uuid4()),
        "source_script": "cnn2snn-brian",
        "source_script_file_name": "cnn2snn-brian",
        "notes": str(result),
    }


@dataclass(frozen=True)
class Session:
    """
    What is exported of a result, all rows on one clock.

    A row starts one time step after the end of the one before: an interval is closed in
    most programs, and a spike at the end of one would belong to the next one too.
    """

    result: "SimulationResult"
    layers: Iterable[str] | None = None
    neurons: Mapping[str, Iterable[tuple[int, ...]]] | None = None
    pixel_size_deg: float | None = None
    silent: bool = True

    def select(self, known: Collection[str], when: str = "") -> list[Chosen]:
        """Find the neurons that are asked for, of layers that are known."""
        shapes, neurons = self.result.shapes, self.neurons or {}
        if self.layers is not None:
            names = [self.layers] if isinstance(self.layers, str) else [*self.layers]
        else:
            asked = known if self.neurons is None else neurons
            names = [name for name in shapes if name in asked]
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
        check_names("neurons", neurons, shapes)
        found = []
        for name in names:
            index = np.arange(math.prod(shapes[name]))
            if name in neurons:
                index = index_of(f"neurons of {name!r}", neurons[name], shapes[name])
                if len(np.unique(index)) < len(index):
                    raise InputError(f"neurons of {name!r} name one of them twice")
            at = np.unravel_index(index, shapes[name])
            none = np.full(len(index), -1)
            channel, y, x = at if len(at) == 3 else (*at, none, none)
            columns = {"layer": np.repeat([name], len(index))}
            columns |= {"channel": channel, "y": y, "x": x}
            fields = field_tables(self.result, name, self.pixel_size_deg)
            for what, (axis, table) in fields.items():
                # A linear layer has one row and one column for each unit.
                columns[what] = table[channel, np.maximum((y, x)[axis], 0)]
            found.append(Chosen(name, index, columns))
        return found

    @cached_property
    def chosen(self) -> list[Chosen]:
        """Neurons of the layers that were recorded."""
        return self.select(self.result.recorded_layers)

    @cached_property
    def first(self) -> Steps:
        """First step of each row."""
        lengths = self.result.steps_of_row + 1
        return np.cumsum(lengths) - lengths

    @property
    def intervals(self) -> npt.NDArray[np.float64]:
        """Start and stop of each row in seconds, of shape (n_images, 2)."""
        both = np.stack([self.first, self.first + self.result.steps_of_row], axis=1)
        return np.asarray(both * self.result.dt_s)

    def _rows_of(self, layer: str) -> list[int]:
        """List the rows that a layer was recorded in."""
        return sorted(row for name, row in self.result.recorded if name == layer)

    @property
    def items(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], dict[str, list[Any]]]:
        """Give starts and stops of all items in seconds, and their other columns."""
        columns = item_columns(self.result)
        rows = np.array(columns.pop("row"), np.int64)
        starts = self.intervals[rows, 0] + columns.pop("onset_s")
        stops = starts + columns.pop("duration_s")
        return starts, stops, {"trial": rows.tolist(), **columns}

    def trains(
        self, chosen: Chosen, rows: Iterable[int] | None = None
    ) -> tuple[Columns, Steps, Steps]:
        """Put spikes together by neuron: columns, how many each has, and steps."""
        shape, n = self.result.shapes[chosen.layer], len(chosen.places)
        # Which of the chosen each neuron of the Brian2 group is; n if it is none of
        # them. The smaller the type, the faster numpy sorts.
        rank = np.full(math.prod(shape), n, np.min_scalar_type(n))
        rank[from_neurons(np.arange(len(rank)), shape).ravel()[chosen.places]] = range(
            n
        )
        # Of 100 million spikes, each byte less is 100 MB.
        least: Any = np.int32 if self.first.max() < 2**30 else np.int64
        ranks, steps = [np.zeros(0, rank.dtype)], [np.zeros(0, least)]
        for row in self._rows_of(chosen.layer) if rows is None else rows:
            neuron, step = self.result.recorded[chosen.layer, row]
            own = rank[neuron]
            ranks.append(own[own < n])
            steps.append(step[own < n].astype(least) + least(self.first[row]))
        found = np.concatenate(ranks)
        order = np.argsort(found, kind="stable")  # spikes of a neuron stay in order
        counts = np.bincount(found, minlength=n)
        kept = slice(None) if self.silent else counts > 0
        columns = {name: column[kept] for name, column in chosen.columns.items()}
        return columns, counts[kept], np.concatenate(steps)[order]

    def observed(self, layer: str) -> npt.NDArray[np.float64]:
        """Give the intervals that a layer was recorded in, which don't touch."""
        found = [np.zeros((0, 2))]
        for row in self._rows_of(layer):
            steps = self.first[row] + self.result.recorded_steps(row, layer)
            runs = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
            ends = [(run[0], run[-1] + 1) for run in runs if len(run)]
            found.append(np.reshape(ends, (-1, 2)) * self.result.dt_s)
        return np.concatenate(found)
