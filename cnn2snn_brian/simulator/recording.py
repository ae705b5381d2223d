"""
What a run records, and whether that will fit into memory.

These are spikes of layers and membrane potentials of neurons, and all spike counts.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import (
    check_known,
    check_names,
    check_whole,
    free_memory,
    seconds,
    whole_numbers,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    INPUT,
    Network,
    Shape,
    by_channel,
    from_neurons,
    index_of,
)
from cnn2snn_brian.settings import Parameters, input_gains
from cnn2snn_brian.stimuli import whole_steps

#: Layers whose spikes are kept, for all images or for those with the given indices.
Spikes = Iterable[str] | Mapping[str, Iterable[int]]

#: Neurons whose potentials are kept, by layer.
Neurons = Mapping[str, Iterable[tuple[int, ...]]]

#: Bytes of a recorded spike (its neuron and its step, both int32), of a potential
#: (float32) and of a learned weight (float64).
BYTES_PER_SPIKE, BYTES_PER_POTENTIAL, BYTES_PER_WEIGHT = 8, 4, 8

#: While a recording is read, the program's file of it is in memory too.
PEAK = 2

#: Below this bound in bytes nothing is estimated: any machine has so much.
SMALL = 200e6

#: From this expected size in bytes on there is a warning.
LARGE = 2e9

#: Spikes a step that are expected of a neuron of a population that a user added.
ADDED_RATE = 0.05

#: Images, and settings, that the expected size is estimated from.
N_SAMPLED = 8


@dataclass(frozen=True)
class Recording:
    """
    What a run records.

    Attributes
    ----------
    spikes : iterable of str, or dict of str to iterable of int
        Layers (or ``input``) whose spikes are kept, for all images or for those with
        the given indices. The last layer is always recorded. A spike takes 8 bytes.
    potentials : dict of str to iterable of tuple of int
        Neurons whose membrane potentials are kept at the end of each step, by layer:
        ``{"conv1": [(channel, y, x), ...], "ip2": [(3,), ...]}``; `Network.column` and
        `Network.sample` choose some. A neuron takes 4 bytes a step and image.
    images : iterable of int, optional
        Indices of the images that potentials are kept for, all by default.
    window : tuple of Quantity [s], or iterable of them, optional
        From when to when spikes and potentials are kept, as (50*ms, 150*ms), or several
        such windows; all the time by default. The last layer's spikes are kept all the
        time.
    variables : dict of str to iterable of str, optional
        Other state variables that are kept as potentials are, by population, also of
        added ones: ``{"readers": ["v", "w"]}``.
    neurons : dict of str to iterable of tuple of int or of int, optional
        Neurons whose `variables` are kept, by population; all of a population that is
        left out.
    interval : Quantity [s], optional
        Time from one value of potentials and variables to the next, a multiple of dt;
        each step by default.
    """

    spikes: Spikes = ()
    potentials: Neurons | None = None
    images: Iterable[int] | None = None
    window: Any = None
    variables: Mapping[str, Iterable[str]] | None = None
    neurons: Neurons | None = None
    interval: Any = None

    def __post_init__(self) -> None:
        # Something that can be gone through once only would be empty in a next run.
        for name in ("spikes", "potentials", "images", "variables", "neurons"):
            given = getattr(self, name)
            if isinstance(given, Mapping):
                kept: Any = {
                    layer: (chosen,) if isinstance(chosen, str) else tuple(chosen)
                    for layer, chosen in given.items()
                }
            elif given is not None:
                kept = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, None if given is None else kept)
        if self.window is not None:
            object.__setattr__(self, "window", _pairs(self.window))

    @classmethod
    def of(cls, record: "Record") -> "Recording":
        """
        Take what `Simulator.run` takes as ``record``.

        Parameters
        ----------
        record : Recording, iterable of str, or dict of str to iterable of int
            A recording, or its `spikes`.

        Returns
        -------
        Recording
            The recording.
        """
        return record if isinstance(record, Recording) else cls(record)

    def spike_mask(
        self, populations: tuple[str, ...], n_images: int, output: str | None = None
    ) -> npt.NDArray[np.bool_]:
        """
        Say whose spikes are kept.

        Parameters
        ----------
        populations : tuple of str
            Names of all populations that spike.
        n_images : int
            Number of images.
        output : str, optional
            The last layer; the last population by default.

        Returns
        -------
        ndarray of bool, shape (n_images, n_populations)
            The last layer is always kept: predictions over time need it.

        Raises
        ------
        InputError
            If a layer or an image does not exist.
        """
        mask = np.zeros((n_images, len(populations)), dtype=bool)
        check_names("record", self.spikes, populations)
        own = self.spikes if isinstance(self.spikes, Mapping) else {}
        for name in self.spikes:
            of_layer = _image_mask(f"record of {name!r}", own.get(name), n_images)
            mask[:, populations.index(name)] = of_layer
        mask[:, populations.index(output) if output else -1] = True
        return mask

    def traced(
        self, known: Mapping[str, Shape], n_images: int
    ) -> tuple[dict[str, npt.NDArray[np.int32]], npt.NDArray[np.bool_]]:
        """
        Say whose potentials and other variables are kept.

        Parameters
        ----------
        known : dict of str to tuple of int
            Variables, ``"conv1.v"``, and the shapes of their populations.
        n_images : int
            Number of images.

        Returns
        -------
        neurons : dict of str to ndarray of int32
            By variable, indices in the Brian2 group.
        images : ndarray of bool, shape (n_images,)
            Of which images.

        Raises
        ------
        InputError
            If a population, a variable, a neuron or an image does not exist.
        """
        names = tuple(dict.fromkeys(name.partition(".")[0] for name in known))
        neurons, chosen = {}, self.neurons or {}
        for what, given in (
            ("potentials", self.potentials),
            ("variables", self.variables),
            ("neurons", self.neurons),
        ):
            check_names(what, given or {}, names)
        for name, positions in (self.potentials or {}).items():
            if f"{name}.v" not in known:
                raise InputError(f"potentials: {name!r} has no variable v")
            if positions:
                found = _neurons_at("potentials", name, positions, known[f"{name}.v"])
                neurons[f"{name}.v"] = found
        for name, variables in (self.variables or {}).items():
            of_name = [key for key in known if key.startswith(f"{name}.")]
            check_known(
                f"variable of {name!r}",
                variables,
                [key.partition(".")[2] for key in of_name],
            )
            shape = known[of_name[0]]
            found = np.arange(math.prod(shape), dtype=np.int32)
            if name in chosen:
                found = _neurons_at("neurons", name, chosen[name], shape)
            neurons |= {f"{name}.{variable}": found for variable in variables}
        return neurons, _image_mask("images of potentials", self.images, n_images)

    def steps_between(self, dt_s: float) -> int:
        """
        Say how many steps are from one value of a variable to the next.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.

        Returns
        -------
        int
            At least 1.

        Raises
        ------
        InputError
            If the interval is not a multiple of dt.
        """
        if self.interval is None:
            return 1
        interval_s = seconds("interval", self.interval, plain=False)
        return check_whole(
            "steps of the interval", whole_steps("interval", interval_s, dt_s), 1
        )

    def windows(self, dt_s: float, n_steps: int) -> tuple[tuple[int, int], ...]:
        """
        Say which steps are recorded.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.
        n_steps : int
            Steps of the program.

        Returns
        -------
        tuple of (int, int)
            First step and the one after the last, in order; empty if all are recorded.

        Raises
        ------
        InputError
            If a window has no steps, is outside of the program's time or overlaps with
            another one.
        """
        found = []
        for start, stop in self.window or ():
            what = f"a time of the window {start} to {stop}"
            first, after = (whole_steps(what, float(t), dt_s) for t in (start, stop))
            if not 0 <= first < after <= n_steps:
                raise InputError(
                    f"the window {start} to {stop} is not within the time of the "
                    f"program, 0 to {1e3 * n_steps * dt_s:g} ms"
                )
            found.append((first, after))
        found.sort()
        if any(b[0] < a[1] for a, b in pairwise(found)):
            raise InputError("windows overlap; give each time once")
        return tuple(found)


def steps_in(
    windows: tuple[tuple[int, int], ...], n_steps: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int64]:
    """Count the steps of trials that are recorded."""
    ends = windows or ((0, n_steps.max()),)
    return sum(np.minimum(n_steps, b) - np.minimum(n_steps, a) for a, b in ends)


def _pairs(window: Any) -> tuple[tuple[Any, Any], ...]:
    """Take one window or several."""
    try:
        given = tuple(window)
        is_one = len(given) == 2 and all(np.ndim(time) == 0 for time in given)
        pairs = tuple((start, stop) for start, stop in ([given] if is_one else given))
        for time in chain(*pairs):
            seconds("window", time, plain=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"window is {window!r}, expected (start, stop) in units of time, such as "
            "(50*ms, 150*ms), or several of these"
        ) from error
    return pairs


#: What `Simulator.run` takes as ``record``.
Record = Recording | Spikes


def _image_mask(
    what: str, images: Iterable[int] | None, n_images: int
) -> npt.NDArray[np.bool_]:
    """Mark images by their indices; without any given, all."""
    if images is None:
        return np.ones(n_images, bool)
    return np.isin(np.arange(n_images), whole_numbers(what, images, n_images))


def _neurons_at(
    what: str, name: str, positions: Iterable[Any], shape: Shape
) -> npt.NDArray[np.int32]:
    """Find neurons, given as in the layer's arrays, in its Brian2 group."""
    in_group = from_neurons(np.arange(math.prod(shape), dtype=np.int32), shape).ravel()
    places = [place if np.ndim(place) else (place,) for place in positions]
    return in_group[index_of(f"{what} of {name!r}", places, shape)]


def _check_fits(said: str, size: float, advice: str, *, warn: bool = False) -> None:
    free = free_memory()
    if free is not None:
        said += f"; {free / 1e9:.1f} GB of memory are free"
        if PEAK * size > free:
            raise InputError(f"{said}, and {PEAK} times the size is needed. {advice}")
    if warn and (size > LARGE or (free is not None and PEAK * size > free / 2)):
        warnings.warn(f"{said}. {advice}", stacklevel=6)


#: How what each trial has takes less memory.
LESS = {
    "spike counts": "Run fewer images or repeats at a time",
    "learned weights": "Show fewer images, or keep the weights from trial to trial",
}


def check_trials_fit(what: str, n_rows: int, bytes_per_row: int) -> None:
    """Refuse trials whose spike counts or learned weights will not fit into memory."""
    size = n_rows * bytes_per_row
    if size > SMALL:
        said = f"the {what} of {n_rows:,} trials take {size / 1e9:.1f} GB"
        _check_fits(said, size, LESS[what])


def expected_rates(
    layers: Network, pixels: npt.NDArray[Any], parameters: Parameters
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    r"""Estimate how often neurons spike, without a simulation."""
    rates: dict[str, Any] = {INPUT: np.clip(pixels * parameters.rate_scale, 0, 1)}
    # In the units of the CNN, where what comes from several layers can be added.
    activations = {INPUT: np.clip(pixels, 0, 1 / parameters.rate_scale)}
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    for layer in layers:
        threshold, gain = parameters.thresholds[layer.name], gains[layer.name]
        total: Any = layers.drive(layer.name, activations) * gain
        total = total + by_channel(parameters.leak[layer.name], layer.shape)
        if layer.bias is not None:
            total = total + layer.bias * gain
        by_neuron = by_channel(threshold, layer.shape)
        rates[layer.name] = np.clip(total / by_neuron, 0, 1)
        activations[layer.name] = rates[layer.name] * by_neuron / gain
    return rates


def _expected_spikes(
    layers: Network,
    shapes: Mapping[str, Shape],
    mean: Callable[[Any], npt.NDArray[Any]],
    settings: Sequence[Parameters],
    recorded: Mapping[str, npt.NDArray[Any]],
    repeats: int,
) -> float:
    """Estimate the spikes of one setting, from a few settings and images."""
    chosen = np.linspace(0, len(settings) - 1, min(N_SAMPLED, len(settings)))
    shown = np.flatnonzero(np.any(list(recorded.values()), axis=0))
    n_images = max(1, N_SAMPLED // len(chosen))
    sampled = shown[np.linspace(0, len(shown) - 1, n_images).astype(int)]
    pixels = mean(np.unique(sampled // repeats))
    total = 0.0
    for index in chosen.astype(int):
        rates = expected_rates(layers, pixels, settings[index])
        for name, steps in recorded.items():
            cells = math.prod(shapes[name]) * int(steps.sum())
            total += cells * float(np.mean(rates.get(name, ADDED_RATE)))
    return total / len(chosen)


def check_recording(
    layers: Network,
    mean: Callable[[Any], npt.NDArray[Any]],
    settings: Sequence[Parameters],
    recorded: Mapping[str, npt.NDArray[Any]],
    n_potentials: int = 0,
    repeats: int = 1,
    shapes: Mapping[str, Shape] | None = None,
) -> tuple[int, int] | None:
    """
    Refuse a recording that will not fit; give its largest and its expected size.

    `mean` gives the mean intensities of the stimuli of some indices, and `recorded` has
    the number of steps that are recorded of each trial, by layer.
    """
    shapes = shapes or layers.shapes
    parts = {
        name: BYTES_PER_SPIKE * math.prod(shapes[name]) * int(steps.sum())
        for name, steps in recorded.items()
    }
    has_spikes = any(parts.values())
    parts["membrane potentials"] = BYTES_PER_POTENTIAL * n_potentials
    bound = len(settings) * sum(parts.values())
    if bound < SMALL:
        return None
    each = float(parts["membrane potentials"])
    if has_spikes:
        expected = _expected_spikes(layers, shapes, mean, settings, recorded, repeats)
        each += BYTES_PER_SPIKE * expected
    size = round(len(settings) * each)
    kept = [name for name, part in parts.items() if part]
    most = max(kept, key=parts.__getitem__)
    said = (
        f"the recording of {', '.join(kept)} is expected to take {size / 1e9:.1f} GB "
        f"(at most {bound / 1e9:.1f} GB), most of it {most}"
    )
    if len(settings) > 1:
        said += f" with each of {len(settings)} settings"
    advice = "Record fewer images or trials: record={'conv1': range(20)}; or use "
    advice += "Recording(..., images=range(20), window=(start, stop))"
    _check_fits(said, size, advice, warn=True)
    return bound, size
