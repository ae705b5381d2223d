"""What the rows of a result are, if stimuli were shown: trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.stimuli.base import Item

__all__ = ["Trials"]


@dataclass(frozen=True)
class Trials:
    """
    The trials of a run: stimulus after stimulus, its repeats in order.

    Attributes
    ----------
    n_repeats : int
        Trials of each stimulus.
    n_steps : tuple of int
        Steps of a trial of each stimulus.
    names : tuple of str
        Name of each stimulus.
    parameters : tuple of dict of str to float
        What each stimulus was made with, such as ``orientation``.
    items : tuple of tuple of Item
        What each stimulus showed one after another: onset, duration and label of each
        image of a `Sequence`, none of others. Empty in a file of version 0.1.0.
    """

    n_repeats: int
    n_steps: tuple[int, ...]
    names: tuple[str, ...]
    parameters: tuple[Mapping[str, float], ...] = ()
    items: tuple[tuple[Item, ...], ...] = ()

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return len(self.n_steps)

    @property
    def stimulus_of_row(self) -> npt.NDArray[np.int64]:
        """Index of the stimulus of each row."""
        return np.repeat(np.arange(self.n_stimuli), self.n_repeats)

    @property
    def repeat_of_row(self) -> npt.NDArray[np.int64]:
        """Which repeat of its stimulus each row is."""
        return np.tile(np.arange(self.n_repeats), self.n_stimuli)

    @property
    def steps_of_row(self) -> npt.NDArray[np.int64]:
        """Steps of each row."""
        return np.repeat(self.n_steps, self.n_repeats)

    def record(self) -> dict[str, Any]:
        """
        Write the trials as JSON can hold them.

        Returns
        -------
        dict
            The fields by name.
        """
        return {
            "n_repeats": self.n_repeats,
            "n_steps": list(self.n_steps),
            "names": list(self.names),
            "parameters": [
                {name: float(value) for name, value in own.items()}
                for own in self.parameters
            ],
            "items": [[list(item) for item in own] for own in self.items],
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Trials":
        """
        Read what `record` wrote.

        Parameters
        ----------
        record : dict
            The fields by name.

        Returns
        -------
        Trials
            The trials.
        """
        return cls(
            int(record["n_repeats"]),
            tuple(record["n_steps"]),
            tuple(record["names"]),
            tuple(record["parameters"]),
            tuple(
                tuple(Item(*item) for item in own) for own in record.get("items", ())
            ),
        )
