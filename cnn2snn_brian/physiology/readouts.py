"""Decoding: what a linear readout of the counts knows, and when."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import (
    TrialSpikes,
    counts,
    trial_of_row,
    trial_spikes,
)
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.results import (
    SimulationResult,
    class_labels,
    class_numbers,
    decisions,
)

if TYPE_CHECKING:
    import pandas


FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decoding(Printed):
    """
    Accuracy of a linear readout over time.

    Attributes
    ----------
    accuracy : ndarray of float64, shape (n_bins, n_folds)
        Share of the left-out trials that are classified correctly, from 0 to 1.
    t_s : ndarray of float64, shape (n_bins,)
        Ends of the bins in seconds; NaN for counts, which have no times.
    chance : float
        Share of the most frequent class: what a readout without any input reaches.
    n_trials : int
        Number of trials.
    """

    accuracy: FloatArray
    t_s: FloatArray
    chance: float
    n_trials: int

    def frame(self) -> "pandas.DataFrame":
        """
        Give the accuracies as a tidy table.

        Returns
        -------
        pandas.DataFrame
            ``t_s``, ``fold`` and ``accuracy``.
        """
        import pandas as pd

        index, fold = np.indices(self.accuracy.shape)
        return pd.DataFrame(
            {
                "t_s": self.t_s[index.ravel()],
                "fold": fold.ravel(),
                "accuracy": self.accuracy.ravel(),
            }
        )


def _features(
    data: Any, layer: str | None, bin: Any, window: Any, cumulative: bool
) -> tuple[tuple[int, int], FloatArray, Iterator[FloatArray]]:
    """Give numbers of stimuli and repeats, ends of bins, and counts bin by bin."""
    if not isinstance(data, SimulationResult | TrialSpikes) or (
        bin is None and isinstance(data, SimulationResult) and window is None
    ):
        whole = counts(data, layer, window)
        end = data.duration_s if isinstance(data, SimulationResult) else np.nan
        rows = whole.reshape(-1, whole.shape[2])
        return whole.shape[:2], np.array([end]), iter([rows])
    spikes = trial_spikes(data, layer)
    start, end = spikes.window(window)
    _, _, edges = spikes.bins(end - start if bin is None else bin, window)

    def each() -> Iterator[FloatArray]:
        # Bin by bin: all of them at once may be gigabytes.
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            last = min(high, spikes.duration_s)
            found = spikes.counts((edges[0] if cumulative else low, last))
            yield found.reshape(spikes.n_trials, -1).astype(float)

    return (spikes.n_stimuli, spikes.n_repeats), edges[1:], each()


def _splits(
    labels: npt.NDArray[Any],
    n_repeats: int,
    across: str,
    folds: int,
    seed: int,
) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    trial = np.arange(len(labels) * n_repeats)
    every = np.repeat(labels, n_repeats)
    if across == "repeats":
        if n_repeats < 2:
            raise InputError("across='repeats' needs at least 2 repeats, found 1")
        splitter = GroupKFold(min(folds, n_repeats))
        return list(splitter.split(trial, every, trial % n_repeats))
    fewest = np.unique(labels, return_counts=True)[1].min()
    if fewest < folds:
        raise InputError(
            f"a class has {fewest} stimuli, expected at least {folds}, one for each "
            "fold; lower folds, or decode across='repeats'"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(trial, every, trial // n_repeats))


def decoding(
    data: Any,
    labels: Any,
    layer: str | None = None,
    *,
    bin: Any = None,
    window: Any = None,
    cumulative: bool = True,
    across: Literal["stimuli", "repeats"] = "stimuli",
    folds: int = 5,
    estimator: Any = None,
    seed: int = 0,
) -> Decoding:
    """
    Decode classes from spike counts with a linear readout, cross-validated.

    A readout is trained for each time bin anew, on the trials of all folds but one, and
    tested on the fold that was left out [1]_. By default it is scikit-learn's
    `RidgeClassifier` on counts that are scaled to mean 0 and variance 1 on the
    training trials: the class whose linear function, fitted to 1 for its trials and -1
    for others by least squares with an L2 penalty of 1, is the largest.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, or counts of shape (n_stimuli, n_repeats, n_neurons).
    labels : array_like, shape (n_stimuli,)
        Class of each stimulus.
    layer : str, optional
        Name of the layer of a result.
    bin : Quantity [s] or float, optional
        Width of a time bin; without it, there is one bin.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.
    cumulative : bool
        Whether to count from the start of the window to the end of a bin, or within
        the bin.
    across : {"stimuli", "repeats"}
        "stimuli": all repeats of a stimulus are in one fold, so that the readout is
        tested on stimuli that it has not seen. "repeats": folds are repeats, for
        classes that are the stimuli themselves.
    folds : int
        Number of folds, at least 2.
    estimator : scikit-learn classifier, optional
        Another readout. It is cloned for each fit.
    seed : int
        Seed of the folds.

    Returns
    -------
    Decoding
        Accuracy by time and fold.

    Raises
    ------
    InputError
        If there is not one label for each stimulus, a class has fewer stimuli than
        folds, or the window is no whole number of bins.

    References
    ----------
    .. [1] Hung, Kreiman, Poggio and DiCarlo (2005), Fast readout of object identity
       from macaque inferior temporal cortex, doi:10.1126/science.1117593
    """
    from sklearn.base import clone
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (n_stimuli, n_repeats), ends, features = _features(
        data, layer, bin, window, cumulative
    )
    truth = class_labels(labels, n_stimuli, "stimuli")
    if len(np.unique(truth)) < 2:
        raise InputError(f"labels are all {truth[0]!r}, expected at least 2 classes")
    if across not in ("stimuli", "repeats"):
        raise InputError(f"across={across!r}: expected 'stimuli' or 'repeats'")
    check_whole("folds", folds, 2)
    check_whole("seed", seed, 0)
    splits = _splits(truth, n_repeats, across, folds, seed)
    every = np.repeat(truth, n_repeats)
    readout = make_pipeline(StandardScaler(), RidgeClassifier())
    readout = readout if estimator is None else estimator
    accuracy = [
        [
            clone(readout).fit(x[train], every[train]).score(x[test], every[test])
            for train, test in splits
        ]
        for x in features
    ]
    chance = np.unique(truth, return_counts=True)[1].max() / n_stimuli
    return Decoding(np.array(accuracy), ends, float(chance), len(every))


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
    """Find the first lead by `bound`, with `SimulationResult.decide`'s rule."""
    if spikes.dt_s is None:
        raise InputError(
            "rule='margin' counts step by step: these spikes have no time step"
        )
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
    if isinstance(data, SimulationResult) and layer is None:
        layer = data.output_layer
    spikes = trial_spikes(data, layer)
    spikes.window()  # the whole trial, one for all
    if spikes.n_neurons < 2:
        raise InputError(f"{spikes.n_neurons} class, expected at least 2")
    if bound is not None:
        bound = check_whole("bound", bound, 1)
    if rule not in ("race", "margin"):
        raise InputError(f"rule={rule!r}: expected 'race' or 'margin'")
    final = spikes.counts().reshape(spikes.n_trials, -1).argmax(1)
    if isinstance(data, SimulationResult) and layer == data.output_layer:
        final[trial_of_row(data)[0]] = data.predictions
    # More than there are spikes is never reached.
    most = len(spikes.t) + 1 if bound is None else bound
    found = (_race if rule == "race" else _margin)(spikes, most, final)
    shape = spikes.n_stimuli, spikes.n_repeats
    time, choice, decided = (np.asarray(part).reshape(shape) for part in found)
    return Choices(bound, rule, time, choice, decided)
