"""What all stimuli have: a kind, a name, a duration, parameters, a plot and a file."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from brian2 import second

from cnn2snn_brian.checks import check_shape, real_numbers, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import DAMAGE, written_whole
from cnn2snn_brian.printing import Printed


def list_of_seconds(times: Any) -> npt.NDArray[np.float64]:
    """Read times of events, with the units of whatever library they are from."""
    try:
        array = real_numbers("times", _in_seconds(times), least=0, unit=second)
    except (TypeError, ValueError) as error:
        raise InputError(f"times can't be read as seconds: {error}") from error
    array = np.atleast_1d(array)
    check_shape("times", array, array.size)
    return array


def _in_seconds(given: Any) -> Any:
    """Convert times of other libraries than Brian2; numpy alone would drop units."""
    if isinstance(given, list | tuple):
        return [_in_seconds(one) for one in given]
    if hasattr(given, "rescale"):  # of the library quantities, as Neo's SpikeTrains
        return np.array(given.rescale("s").magnitude)
    if np.asarray(given).dtype.kind == "m":
        return np.asarray(given) / np.timedelta64(1, "s")
    unit = getattr(given, "unit", None) or getattr(given, "units", None)
    if unit is not None:
        kind = f"{type(given).__module__}.{type(given).__qualname__}"
        raise ValueError(f"a {kind} in {unit}; expected seconds, such as [1, 2]*ms")
    return given


def whole_steps(
    what: str, time_s: float, dt_s: float, step: str = "the time step"
) -> int:
    """Turn a time into steps."""
    steps = time_s / dt_s
    n_steps = round(steps)
    if abs(steps - n_steps) > 1e-6 * max(1, n_steps):
        raise InputError(
            f"{what} is {1e3 * time_s:g} ms, expected a multiple of {step}, "
            f"{1e3 * dt_s:g} ms"
        )
    return n_steps


#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian stimulus 1"


class Item(NamedTuple):
    """
    One of several things that a stimulus shows one after another.

    Attributes
    ----------
    onset_s : float
        When it appears, in seconds since the start of the trial.
    duration_s : float
        How long it is shown, in seconds.
    label : int or str
        What it is.
    """

    onset_s: float
    duration_s: float
    label: int | str


@dataclass(frozen=True, eq=False, kw_only=True)
class Stimulus(Printed, ABC):
    """
    What is shown in a trial, from its start to its end.

    Attributes
    ----------
    name : str
        A name for reports and plots; the kind by default.
    parameters : dict of str to float
        What it was made with, such as ``orientation``; kept with results.
    """

    #: Fields that are times; files keep them in seconds.
    TIMES: ClassVar[tuple[str, ...]] = ("duration",)
    #: All kinds, by name.
    KINDS: ClassVar[dict[str, "type[Stimulus]"]] = {}

    name: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name, or its kind if it has none."""
        return self.name or type(self).__name__

    @property
    def items(self) -> tuple[Item, ...]:
        """What it shows one after another, in order; empty if that is one thing."""
        return ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        Stimulus.KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        duration = getattr(self, "duration", None)
        if duration is not None:
            what = f"the duration of {self.label}"
            time = seconds(what, duration, plain=False, above=0)
            self._keep(duration=time * second)

    def _keep(self, **checked: Any) -> None:
        """Set fields to what a check has made of them."""
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def duration_s(self) -> float | None:
        """How long it takes in seconds; None is as long as it is shown."""
        duration = getattr(self, "duration", None)
        return None if duration is None else float(duration)

    def n_steps(self, dt_s: float) -> int | None:
        """
        Say how many steps it takes.

        Parameters
        ----------
        dt_s : float
            The time step in seconds.

        Returns
        -------
        int or None
            Number of steps; None is as many as it is shown for.

        Raises
        ------
        InputError
            If its duration is not a whole number of steps.
        """
        if self.duration_s is None:
            return None
        return whole_steps(self.label, self.duration_s, dt_s)

    @abstractmethod
    def check(self, input_shape: tuple[int, int, int], dt_s: float) -> None:
        """
        Check that a network can be shown this.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the network's input, (channels, height, width).
        dt_s : float
            The time step in seconds.

        Raises
        ------
        InputError
            If it has another shape, or its times are not multiples of the step.
        """

    def plot(self, ax: Any = None) -> Any:
        """
        Draw it over time.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; the current axes by default.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        self._draw(ax)
        ax.set_xlabel("time (ms)")
        ax.set_title(self.label)
        return ax

    @abstractmethod
    def _draw(self, ax: Any) -> None:
        """Draw frames, or spikes."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Write it to one file; `stimuli.load` reads it.

        Parameters
        ----------
        path : path-like
            The file, with the suffix ``.npz``. It is written whole or not at all.

        Raises
        ------
        InputError
            If it has another suffix.
        FileNotFoundError
            If its folder does not exist.
        WriteError
            If the disk is full, or the like.
        """
        if Path(path).suffix != ".npz":
            raise InputError(f"{path}: the file of a stimulus has to end with .npz")
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        arrays: dict[str, Any] = {
            name: value
            for name, value in values.items()
            if isinstance(value, np.ndarray) and value.ndim
        }
        numbers = {name: values[name] for name in values if name not in arrays}
        for name in self.TIMES:
            numbers[name] = None if values[name] is None else float(values[name])
        numbers["parameters"] = {k: float(v) for k, v in self.parameters.items()}
        head = {"format": FORMAT, "kind": type(self).__name__, "fields": numbers}
        with written_whole(path) as unfinished:
            np.savez_compressed(
                unfinished, stimulus=np.array(json.dumps(head)), **arrays
            )


def load(path: str | os.PathLike[str]) -> Stimulus:
    """
    Read a stimulus that `Stimulus.save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Stimulus
        The same stimulus.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["stimulus"]))
            if head["format"] != FORMAT:
                raise ValueError(f"its format is {head['format']!r}")
            kind = Stimulus.KINDS[head["kind"]]
            values = {name: file[name] for name in file.files if name != "stimulus"}
        values |= head["fields"]
        for name in kind.TIMES:
            values[name] = None if values[name] is None else values[name] * second
        return kind(**values)
    except DAMAGE as error:
        raise InputError(
            f"{path}: not a saved stimulus, or damaged: {type(error).__name__}: {error}"
        ) from error
