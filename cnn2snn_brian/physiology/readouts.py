"""Decoding: what a linear readout of the counts knows, and when."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes
from cnn2snn_brian.physiology.trials import counts, trial_spikes
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.spikes.data import SpikeData
from cnn2snn_brian.spikes.numbers import class_labels

if TYPE_CHECKING:
    import pandas

__all__ = ["Decoding", "decoding"]

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
    if not isinstance(data, SpikeData | TrialSpikes) or (
        bin is None and isinstance(data, SpikeData) and window is None
    ):
        whole = counts(data, layer, window)
        end = data.duration_s if isinstance(data, SpikeData) else np.nan
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
            message = "across='repeats' needs at least 2 repeats, found 1"
            raise InputError(message)
        splitter = GroupKFold(min(folds, n_repeats))
        return list(splitter.split(trial, every, trial % n_repeats))
    fewest = np.unique(labels, return_counts=True)[1].min()
    if fewest < folds:
        message = (
            f"a class has {fewest} stimuli, expected at least {folds}, one for each "
            "fold; lower folds, or decode across='repeats'"
        )
        raise InputError(message)
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
        message = f"labels are all {truth[0]!r}, expected at least 2 classes"
        raise InputError(message)
    if across not in ("stimuli", "repeats"):
        message = f"across={across!r}: expected 'stimuli' or 'repeats'"
        raise InputError(message)
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
