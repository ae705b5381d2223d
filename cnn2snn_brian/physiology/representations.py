"""What responses stand for: dissimilarities, what a readout knows, choices."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_choice, check_shape, check_whole, real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import (
    Measured,
    TrialSpikes,
    counts,
    start_and_end,
    trial_spikes,
)
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.results import (
    SimulationResult,
    class_labels,
    class_numbers,
    correlation,
    decisions,
)

if TYPE_CHECKING:
    import pandas


FloatArray = npt.NDArray[np.float64]
Metric = Literal["correlation", "euclidean", "cosine"]
Method = Literal["spearman", "pearson"]
Across = Literal["stimuli", "repeats"]
Rule = Literal["race", "margin"]
Found = tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Rdm(Printed):
    """
    How different the responses to each two stimuli are.

    Attributes
    ----------
    values : ndarray of float64, shape (n_stimuli, n_stimuli)
        Dissimilarities, symmetric, with 0 on the diagonal; NaN where they are not
        defined, as is the correlation with a silent layer.
    metric : str
        What they are.
    """

    values: FloatArray
    metric: str

    @property
    def pairs(self) -> FloatArray:
        """Dissimilarities of pairs, each once, of shape (n * (n - 1) / 2,)."""
        return self.values[np.triu_indices(len(self.values), 1)]


def cosines(rows: FloatArray, *, centred: bool) -> FloatArray:
    """Correlate rows, or give the cosines of their angles; NaN where that is 0 / 0."""
    moved = rows - rows.mean(1, keepdims=True) if centred else rows
    length = np.linalg.norm(moved, axis=1)
    # A mean that can't be written exactly leaves rounding errors of a constant.
    flat = length <= 1e-9 * np.linalg.norm(rows, axis=1)
    moved = moved / np.where(flat, 1, length)[:, None]
    found = np.clip(moved @ moved.T, -1, 1)
    found[flat] = found[:, flat] = np.nan
    return found


def _patterns(data: Any, layer: str | None, window: Any) -> FloatArray:
    if isinstance(data, SimulationResult | TrialSpikes):
        return counts(data, layer, window).mean(1)
    array = real_numbers("patterns", data)
    if array.ndim < 2 or not array.size:
        rule = "(n_stimuli, n_repeats, n_neurons) or (n_stimuli, ...)"
        raise InputError(f"patterns: found the shape {array.shape}, expected {rule}")
    return array.mean(1) if array.ndim == 3 else array.reshape(len(array), -1)


def rdm(
    data: Any,
    layer: str | None = None,
    *,
    window: Any = None,
    metric: Metric = "correlation",
) -> Rdm:
    r"""
    Compute the representational dissimilarity matrix of a layer.

    .. math:: d_{ab} = 1 - \mathrm{corr}_i(\bar n_i(a), \bar n_i(b))

    for stimuli a and b, with Pearson's correlation over the neurons i of mean counts
    over repeats [1]_. "euclidean" is the distance of the two means, "cosine" is 1 minus
    the cosine of the angle between them.

    Parameters
    ----------
    data : SimulationResult, TrialSpikes or array_like
        A result, spikes, counts of shape (n_stimuli, n_repeats, n_neurons), or one
        pattern a stimulus, such as activations of a CNN or pixels, of shape (n_stimuli,
        n) or (n_stimuli, channels, height, width).
    layer : str, optional
        Name of the layer of a result.
    window : tuple of (Quantity [s] or float), optional
        Start and end; the whole trial by default.
    metric : {"correlation", "euclidean", "cosine"}
        Measure of dissimilarity.

    Returns
    -------
    Rdm
        The matrix.

    Raises
    ------
    InputError
        If the metric is unknown, there are less than 3 stimuli, or spikes that the
        window needs were not recorded.

    References
    ----------
    .. [1] Kriegeskorte, Mur and Bandettini (2008), Representational similarity
       analysis, doi:10.3389/neuro.06.004.2008
    """
    from scipy.spatial.distance import pdist, squareform

    check_choice("metric", metric, get_args(Metric))
    patterns = _patterns(data, layer, window)
    if len(patterns) < 3:
        raise InputError(f"an RDM needs at least 3 stimuli, found {len(patterns)}")
    if metric == "euclidean":
        values = squareform(pdist(patterns))
    else:
        values = 1 - cosines(patterns, centred=metric == "correlation")
    np.fill_diagonal(values, 0)
    return Rdm(values, metric)


@dataclass(frozen=True)
class Comparison:
    """
    How alike two dissimilarity matrices are.

    Attributes
    ----------
    value : float
        Correlation over pairs of stimuli; NaN where it is not defined.
    low, high : float
        Its 95 % interval by a bootstrap over stimuli.
    p_value : float
        Share of relabellings of the stimuli with at least this correlation.
    method : str
        "spearman" or "pearson".
    n_pairs : int
        Pairs of stimuli that have a value in both matrices.
    """

    value: float
    low: float
    high: float
    p_value: float
    method: str
    n_pairs: int


def _alike(first: FloatArray, second: FloatArray, method: Method) -> float:
    """Correlate the pairs of stimuli that have a value in both matrices."""
    from scipy.stats import rankdata

    pairs = np.triu_indices(len(first), 1)
    first, second = first[pairs], second[pairs]
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3:
        return np.nan
    first, second = first[known], second[known]
    if method == "spearman":
        first, second = rankdata(first), rankdata(second)
    return correlation(first, second)


def compare(
    first: Any,
    second: Any,
    *,
    method: Method = "spearman",
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Comparison:
    """
    Compare two dissimilarity matrices of the same stimuli.

    The value is Spearman's rank correlation, or Pearson's, over pairs of stimuli; pairs
    with NaN in one of the matrices are left out. The bootstrap draws stimuli with
    replacement, and leaves out pairs of a stimulus with itself; 2.5 % of its values are
    below the interval and 2.5 % above. The test permutes the stimuli of one matrix
    [1]_.

    Parameters
    ----------
    first, second : Rdm or array_like of float, shape (n_stimuli, n_stimuli)
        The matrices.
    method : {"spearman", "pearson"}
        Correlation of ranks or of values.
    n_bootstrap, n_permutations : int
        Numbers of draws; 0 leaves out the interval or the test (NaN).
    seed : int
        Seed of the draws.

    Returns
    -------
    Comparison
        Correlation, interval and p-value.

    Raises
    ------
    InputError
        If the matrices are not symmetric and of one size, with at least 4 stimuli, the
        method is unknown, or a number of draws is not whole.

    References
    ----------
    .. [1] Nili et al. (2014), A toolbox for representational similarity analysis,
       doi:10.1371/journal.pcbi.1003553
    """
    check_whole("n_bootstrap", n_bootstrap, 0)
    check_whole("n_permutations", n_permutations, 0)
    check_whole("seed", seed, 0)
    check_choice("method", method, get_args(Method))
    a, b = (
        real_numbers("a matrix", m.values if isinstance(m, Rdm) else m, known=False)
        for m in (first, second)
    )
    check_shape("a matrix", a, "n_stimuli", "n_stimuli")
    check_shape("a matrix", b, *a.shape)
    if len(a) < 4:
        raise InputError(f"{len(a)} stimuli, expected at least 4")
    if not all(np.allclose(m, m.T, equal_nan=True) for m in (a, b)):
        raise InputError("a matrix is not symmetric, expected dissimilarities of pairs")
    n = len(a)
    # In a bootstrap sample there are pairs of a stimulus with itself.
    np.fill_diagonal(a, np.nan)
    n_pairs = int((np.isfinite(a) & np.isfinite(b)).sum()) // 2
    value = _alike(a, b, method)
    rng = np.random.default_rng(seed)
    samples = map(np.ix_, *2 * [rng.integers(n, size=(n_bootstrap, n))])
    drawn = [_alike(a[sample], b[sample], method) for sample in samples]
    orders = (rng.permutation(n) for _ in range(n_permutations))
    shuffled = [_alike(a[np.ix_(order, order)], b, method) for order in orders]
    low, high, p_value = np.nan, np.nan, np.nan
    if np.isfinite(drawn).any():
        low, high = np.nanquantile(drawn, [0.025, 0.975])
    if np.isfinite(value) and n_permutations:
        # Ranks in another order add up to the same, but for the last digits.
        reached = sum(one >= value - 1e-12 for one in shuffled)
        p_value = (1 + reached) / (1 + n_permutations)
    return Comparison(value, float(low), float(high), p_value, method, n_pairs)


@dataclass(frozen=True, eq=False)
class Decoding(Measured):
    """
    Accuracy of a linear readout over time.

    ``frame()`` has ``t_s``, ``fold`` and ``accuracy``.

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

    _axes = ("t_s", "fold")
    _columns = ("accuracy",)


def decoding(
    data: Any,
    labels: Any,
    layer: str | None = None,
    *,
    bin: Any = None,
    window: Any = None,
    cumulative: bool = True,
    across: Across = "stimuli",
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
        folds, the window is not a whole number of bins, or bins are asked for of
        counts, which have no times.

    References
    ----------
    .. [1] Hung, Kreiman, Poggio and DiCarlo (2005), Fast readout of object identity
       from macaque inferior temporal cortex, doi:10.1126/science.1117593
    """
    from sklearn.base import clone
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features: Iterable[npt.NDArray[Any]]
    if bin is None:
        whole = counts(data, layer, window)
        features, (n_stimuli, n_repeats, _) = [whole], whole.shape
        end = getattr(data, "duration_s", np.nan)
        ends = np.array([end if window is None else start_and_end(window)[1]])
    else:
        spikes = trial_spikes(data, layer)
        n_stimuli, n_repeats = spikes.n_stimuli, spikes.n_repeats
        _, _, edges = spikes.bins(bin, window)
        ends = edges[1:]
        starts = np.full_like(ends, edges[0]) if cumulative else edges[:-1]
        # Bin by bin: all of them at once may be gigabytes.
        features = map(spikes.counts, zip(starts, ends, strict=True))
    truth = class_labels(labels, n_stimuli, "stimuli")
    classes, sizes = np.unique(truth, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"labels are all {truth[0]!r}, expected at least 2 classes")
    check_choice("across", across, get_args(Across))
    check_whole("folds", folds, 2)
    check_whole("seed", seed, 0)
    every = np.repeat(truth, n_repeats)
    stimulus, repeat = np.divmod(np.arange(len(every)), n_repeats)
    if across == "stimuli":
        if sizes.min() < folds:
            rule = f"{folds}, one for each fold; lower folds or decode across='repeats'"
            raise InputError(f"a class has {sizes.min()} stimuli, expected {rule}")
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = list(splitter.split(every, every, stimulus))
    elif n_repeats < 2:
        raise InputError("across='repeats' needs at least 2 repeats, found 1")
    else:
        splitter = GroupKFold(min(folds, n_repeats))
        splits = list(splitter.split(every, every, repeat))
    if estimator is None:
        estimator = make_pipeline(StandardScaler(), RidgeClassifier())

    def score(x: FloatArray, train: Any, test: Any) -> float:
        readout = clone(estimator).fit(x[train], every[train])
        return float(readout.score(x[test], every[test]))

    flat = (part.reshape(len(every), -1).astype(float) for part in features)
    accuracy = np.array([[score(x, *split) for split in splits] for x in flat])
    chance = float(sizes.max() / n_stimuli)
    return Decoding(accuracy, ends, chance, len(every))


@dataclass(frozen=True, eq=False)
class Choices(Measured):
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
    reaction_time_s: FloatArray
    choice: npt.NDArray[np.int64]
    decided: npt.NDArray[np.bool_]

    _axes = ("stimulus", "repeat")
    _columns = ("reaction_time_s", "choice", "decided")

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
        table = super().frame()
        if labels is not None:
            table["correct"] = self._correct(labels).ravel()
        return table


def _race(spikes: TrialSpikes, bound: int, final: npt.NDArray[np.int64]) -> Found:
    """Find the class whose spike number `bound` comes first."""
    accumulator = spikes.trial * spikes.n_neurons + spikes.neuron
    order = np.lexsort((spikes.t, accumulator))
    its = accumulator[order]
    reached = np.arange(len(its)) - np.searchsorted(its, its) == bound - 1
    times = np.full((spikes.n_trials, spikes.n_neurons), np.inf)
    times.flat[its[reached]] = spikes.t[order][reached]
    first = times.min(1)
    decided = np.isfinite(first)
    # A spike is known at the end of its step.
    time = np.where(decided, first + (spikes.dt_s or 0), spikes.duration_s)
    return time, np.where(decided, times.argmin(1), final), decided


def _margin(spikes: TrialSpikes, bound: int, final: npt.NDArray[np.int64]) -> Found:
    """Find the first lead by `bound`, with `SimulationResult.decide`'s rule."""
    if spikes.dt_s is None:
        raise InputError("rule='margin' counts steps: these spikes have no time step")
    step = np.rint(spikes.t / spikes.dt_s).astype(np.int64)
    order = np.argsort(spikes.trial, kind="stable")
    ends = np.searchsorted(spikes.trial[order], np.arange(1, spikes.n_trials))
    by_trial = (np.split(part[order], ends) for part in (spikes.neuron, step))
    n_steps = round(spikes.duration_s / spikes.dt_s)
    trials = zip(*by_trial, strict=True)
    found = decisions(bound, trials, final, n_steps, spikes.n_neurons)
    return found.steps * spikes.dt_s, found.predictions, found.decided


def decide(
    data: Any,
    bound: int | None = None,
    layer: str | None = None,
    *,
    rule: Rule = "race",
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
        If the bound is not a whole number of at least 1, the rule is unknown, there is
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
    check_choice("rule", rule, get_args(Rule))
    final = spikes.counts().reshape(spikes.n_trials, -1).argmax(1)
    if isinstance(data, SimulationResult) and layer == data.output_layer:
        final = data.predictions
    # More than there are spikes is never reached.
    most = len(spikes.t) + 1 if bound is None else bound
    found = (_race if rule == "race" else _margin)(spikes, most, final)
    shape = spikes.n_stimuli, spikes.n_repeats
    time, choice, decided = (np.asarray(part).reshape(shape) for part in found)
    return Choices(bound, rule, time, choice, decided)
