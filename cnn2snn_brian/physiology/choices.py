"""Choices and reaction times: output spikes add up until they reach a bound."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes
from cnn2snn_brian.physiology.trials import trial_of_row, trial_spikes
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.spikes.data import SpikeData
from cnn2snn_brian.spikes.decision import decisions
from cnn2snn_brian.spikes.numbers import class_numbers

if TYPE_CHECKING:
    import pandas

__all__ = ["Choices", "decide"]


@dataclass(frozen=True, eq=False)
class Choices(Printed):
    """
    Choice and reaction time of each trial.

    Attributes
    ----------
    bound : int or None
        Output spikes that a choice takes; None of choices at the end of a trial.
    rule : str
        "race" or "margin".
    reaction_time_s : ndarray of float64, shape (n_stimuli, n_repeats)
        Seconds since the start of a trial; its duration where the bound was not
        reached.
    choice : ndarray of int64, shape (n_stimuli, n_repeats)
        Index of the class; where the bound was not reached, that of most spikes.
    decided : ndarray of bool, shape (n_stimuli, n_repeats)
        Whether the bound was reached.
    """

    bound: int | None
    rule: str
    reaction_time_s: npt.NDArray[np.float64]
    choice: npt.NDArray[np.int64]
    decided: npt.NDArray[np.bool_]

    def _correct(self, labels: Any) -> npt.NDArray[np.bool_]:
        truth = class_numbers(labels, len(self.choice), "stimuli")
        return np.asarray(self.choice == truth[:, None])

    def accuracy(self, labels: Any) -> float:
        """
        Share of trials with the right choice.

        Parameters
        ----------
        labels : array_like of int, shape (n_stimuli,)
            The right classes.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        InputError
            If there is not one label for each stimulus, or one is a name.
        """
        return float(self._correct(labels).mean())

    def frame(self, labels: Any = None) -> "pandas.DataFrame":
        """
        Give choices and reaction times as a tidy table.

        Parameters
        ----------
        labels : array_like of int, shape (n_stimuli,), optional
            The right classes.

        Returns
        -------
        pandas.DataFrame
            ``stimulus``, ``repeat``, ``reaction_time_s``, ``choice``, ``decided``, and
            with labels ``correct``.

        Raises
        ------
        InputError
            If there is not one label for each stimulus, or one is a name.
        """
        import pandas as pd

        stimulus, repeat = np.indices(self.choice.shape)
        columns = {
            "stimulus": stimulus.ravel(),
            "repeat": repeat.ravel(),
            "reaction_time_s": self.reaction_time_s.ravel(),
            "choice": self.choice.ravel(),
            "decided": self.decided.ravel(),
        }
        if labels is not None:
            columns["correct"] = self._correct(labels).ravel()
        return pd.DataFrame(columns)


def _race(
    spikes: TrialSpikes, bound: int, final: npt.NDArray[np.int64]
) -> tuple[Any, Any, Any]:
    """Find the class whose spike number `bound` comes first."""
    accumulator = spikes.trial * spikes.n_neurons + spikes.neuron
    order = np.lexsort((spikes.t, accumulator))
    its, t = accumulator[order], spikes.t[order]
    number = np.arange(len(its)) - np.searchsorted(its, its)
    reached = number == bound - 1
    times = np.full((spikes.n_trials, spikes.n_neurons), np.inf)
    times.flat[its[reached]] = t[reached]
    first = times.min(1)
    decided = np.isfinite(first)
    choice = np.where(decided, times.argmin(1), final)
    # A spike is known at the end of its step.
    time = np.where(decided, first + (spikes.dt_s or 0), spikes.duration_s)
    return time, choice, decided


def _margin(
    spikes: TrialSpikes, bound: int, final: npt.NDArray[np.int64]
) -> tuple[Any, Any, Any]:
    """Find the first lead by `bound`, with `SpikeData.decide`'s rule."""
    if spikes.dt_s is None:
        message = "rule='margin' counts step by step: these spikes have no time step"
        raise InputError(message)
    dt = spikes.dt_s
    step = np.rint(spikes.t / dt).astype(np.int64)
    order = np.argsort(spikes.trial, kind="stable")
    ends = np.searchsorted(spikes.trial[order], np.arange(1, spikes.n_trials))
    found = decisions(
        bound,
        zip(
            np.split(spikes.neuron[order], ends),
            np.split(step[order], ends),
            strict=True,
        ),
        final,
        round(spikes.duration_s / dt),
        spikes.n_neurons,
    )
    return found.steps * dt, found.predictions, found.decided


def decide(
    data: Any,
    bound: int | None = None,
    layer: str | None = None,
    *,
    rule: Literal["race", "margin"] = "race",
) -> Choices:
    """
    Let each trial end with a choice as soon as a bound is reached.

    "race": the class whose spikes reach the bound first, as in race models [1]_. If
    several do so in one step, the first of them. "margin": the class that is the first
    to lead by the bound over the second, as `SimulationResult.decide` does. For two
    classes this is a random walk between two bounds, the sequential probability ratio
    test [2]_.

    The reaction time is the end of the step of the deciding spike. It is the time that
    the network takes, in which each layer has one step at least; no time for senses or
    movement is added.

    Parameters
    ----------
    data : SimulationResult or TrialSpikes
        A result, or spikes of one neuron for each class, such as those of `by_item`.
    bound : int, optional
        Spikes, at least 1. Without it, each trial ends undecided, and its choice is the
        class of most spikes.
    layer : str, optional
        Layer of a result, a neuron for each class; the last one by default.
    rule : {"race", "margin"}
        See above.

    Returns
    -------
    Choices
        Choices and reaction times.

    Raises
    ------
    InputError
        If the bound is no whole number of at least 1, the rule is unknown, there is
        only one class, or spikes without a time step are decided by a margin.

    References
    ----------
    .. [1] Vickers (1970), Evidence for an accumulator model of psychophysical
       discrimination, doi:10.1080/00140137008931117
    .. [2] Bogacz et al. (2006), The physics of optimal decision making,
       doi:10.1037/0033-295X.113.4.700
    """
    if isinstance(data, SpikeData) and layer is None:
        layer = data.output_layer
    spikes = trial_spikes(data, layer)
    spikes.window()  # the whole trial, one for all
    if spikes.n_neurons < 2:
        message = f"{spikes.n_neurons} class, expected at least 2"
        raise InputError(message)
    if bound is not None:
        bound = check_whole("bound", bound, 1)
    if rule not in ("race", "margin"):
        message = f"rule={rule!r}: expected 'race' or 'margin'"
        raise InputError(message)
    final = spikes.counts().reshape(spikes.n_trials, -1).argmax(1)
    if isinstance(data, SpikeData) and layer == data.output_layer:
        final[trial_of_row(data)[0]] = data.predictions
    # More than there are spikes is never reached.
    most = len(spikes.t) + 1 if bound is None else bound
    found = (_race if rule == "race" else _margin)(spikes, most, final)
    shape = spikes.n_stimuli, spikes.n_repeats
    time, choice, decided = (np.asarray(part).reshape(shape) for part in found)
    return Choices(bound, rule, time, choice, decided)
