"""What all stimuli have: a kind, a name, a duration, parameters, a plot and a file."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from cnn2snn_brian.stimuli.times import whole_steps
from cnn2snn_brian.stimuli.writing import save

__all__ = ["Item", "Stimulus"]


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
class Stimulus(ABC):
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

    @property
    @abstractmethod
    def duration_s(self) -> float | None:
        """How long it takes in seconds; None is as long as it is shown."""

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
            If its duration is no whole number of steps.
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
            If its shape is another, or its times are no multiples of the step.
        """

    @abstractmethod
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
        save(self, path)
