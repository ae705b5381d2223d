"""What a run records: spikes of layers, and membrane potentials of neurons."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Quantity, second
from brian2.units import have_same_dimensions

from cnn2snn_brian.checks import check_names
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Shape, from_neurons, index_of

#: Layers whose spikes are kept, for all images or for those with the given indices.
Spikes = Iterable[str] | Mapping[str, Iterable[int]]

#: Neurons whose potentials are kept, by layer.
Neurons = Mapping[str, Iterable[tuple[int, ...]]]


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
        ``{"conv1": [(channel, y, x), ...], "ip2": [(3,), ...]}``; `Layers.column` and
        `Layers.sample` choose some. A neuron takes 4 bytes a step and image.
    images : iterable of int, optional
        Indices of the images that potentials are kept for, all by default.
    window : tuple of Quantity [s], or iterable of them, optional
        From when to when spikes and potentials are kept, as (50*ms, 150*ms), or several
        such windows; all the time by default. The last layer's spikes are kept all the
        time.
    """

    spikes: Spikes = ()
    potentials: Neurons | None = None
    images: Iterable[int] | None = None
    window: Any = None

    def __post_init__(self) -> None:
        def kept(given: Any) -> Any:
            # Something that can be gone through once only would be empty in a next run.
            if isinstance(given, Mapping):
                return {name: tuple(chosen) for name, chosen in given.items()}
            return (given,) if isinstance(given, str) else tuple(given)

        for name in ("spikes", "potentials", "images"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, kept(value))
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
        if isinstance(record, Recording):
            return record
        return cls(record)

    def spike_mask(
        self, populations: tuple[str, ...], n_images: int
    ) -> npt.NDArray[np.bool_]:
        """
        Say whose spikes are kept.

        Parameters
        ----------
        populations : tuple of str
            Names of all populations that spike.
        n_images : int
            Number of images.

        Returns
        -------
        ndarray of bool, shape (n_images, n_populations)
            The last population is always kept: predictions over time need it.

        Raises
        ------
        InputError
            If a layer or an image does not exist.
        """
        mask = np.zeros((n_images, len(populations)), dtype=bool)
        chosen: dict[str, Any] = (
            {name: list(images) for name, images in self.spikes.items()}
            if isinstance(self.spikes, Mapping)
            else dict.fromkeys(self.spikes, slice(None))
        )
        for name, images in chosen.items():
            if name not in populations:
                raise InputError(
                    f"record names the unknown layer {name!r}; there are "
                    f"{', '.join(populations)}"
                )
            if not isinstance(images, slice):
                _check_images(f"record of {name!r}", images, n_images)
            mask[images, populations.index(name)] = True
        mask[:, -1] = True
        return mask

    def traced(
        self, populations: tuple[str, ...], shapes: Mapping[str, Shape], n_images: int
    ) -> tuple[tuple[npt.NDArray[np.int32], ...], npt.NDArray[np.bool_]]:
        """
        Say whose potentials are kept.

        Parameters
        ----------
        populations : tuple of str
            Names of all populations that spike.
        shapes : dict of str to tuple of int
            Their shapes.
        n_images : int
            Number of images.

        Returns
        -------
        neurons : tuple of ndarray of int32
            Indices in the Brian2 group, for each population.
        images : ndarray of bool, shape (n_images,)
            Of which images.

        Raises
        ------
        InputError
            If a layer, a neuron or an image does not exist.
        """
        potentials = self.potentials or {}
        layers = tuple(name for name in populations if name != INPUT)
        check_names("potentials", potentials, layers)
        neurons = tuple(
            _neurons_at(name, potentials.get(name, ()), shapes[name])
            for name in populations
        )
        images = list(range(n_images) if self.images is None else self.images)
        _check_images("images of potentials", images, n_images)
        chosen = np.zeros(n_images, dtype=bool)
        chosen[images] = True
        return neurons, chosen

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
            First step and the one behind the last, in order; empty if all are recorded.

        Raises
        ------
        InputError
            If a window has no steps, is outside of the program's time or overlaps with
            another one.
        """
        found = []
        for start, stop in self.window or ():
            steps = [float(time) / dt_s for time in (start, stop)]
            first, behind = (round(step) for step in steps)
            if any(abs(step - round(step)) > 1e-6 * max(1, step) for step in steps):
                raise InputError(
                    f"the window {start} to {stop}: its times are no multiples of the "
                    f"time step {1e3 * dt_s:g} ms"
                )
            if not 0 <= first < behind <= n_steps:
                raise InputError(
                    f"the window {start} to {stop} is not within the time of the "
                    f"program, 0 to {1e3 * n_steps * dt_s:g} ms"
                )
            found.append((first, behind))
        found.sort()
        if any(b[0] < a[1] for a, b in pairwise(found)):
            raise InputError("windows overlap; give each time once")
        return tuple(found)


def steps_in(
    windows: tuple[tuple[int, int], ...], n_steps: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int64]:
    """Count the steps of trials that are recorded."""
    if not windows:
        return n_steps.astype(np.int64)
    total = np.zeros(len(n_steps), np.int64)
    for start, stop in windows:
        total += np.minimum(n_steps, stop) - np.minimum(n_steps, start)
    return total


def _pairs(window: Any) -> tuple[tuple[Any, Any], ...]:
    """Take one window or several."""
    given = tuple(window)
    one = len(given) == 2 and all(np.ndim(time) == 0 for time in given)
    pairs = tuple(tuple(pair) for pair in ((given,) if one else given))
    for pair in pairs:
        if len(pair) != 2 or not all(
            isinstance(time, Quantity) and have_same_dimensions(time, second)
            if float(time)
            else np.ndim(time) == 0
            for time in pair
        ):
            raise InputError(
                f"window is {window!r}, expected (start, stop) in units of time, such "
                "as (50*ms, 150*ms), or several of these"
            )
    return pairs  # type: ignore[return-value]


#: What `Simulator.run` takes as ``record``.
Record = Recording | Spikes


def _check_images(what: str, images: Iterable[int], n_images: int) -> None:
    if any(not 0 <= image < n_images for image in images):
        raise InputError(f"{what} names images outside 0 to {n_images - 1}")


def _neurons_at(
    name: str, positions: Iterable[tuple[int, ...]], shape: Shape
) -> npt.NDArray[np.int32]:
    """Find neurons, given as in the layer's arrays, in its Brian2 group."""
    in_group = from_neurons(np.arange(math.prod(shape)), shape).ravel()
    return in_group[index_of(f"potentials of {name!r}", positions, shape)].astype(
        np.int32
    )
