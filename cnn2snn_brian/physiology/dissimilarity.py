"""Representational dissimilarity matrices, and how alike two of them are."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole, real_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.physiology.trains import TrialSpikes, counts
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.results import SimulationResult, correlation

FloatArray = npt.NDArray[np.float64]

METRICS = ("correlation", "euclidean", "cosine")


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


def _patterns(data: Any, layer: str | None, window: Any) -> FloatArray:
    if isinstance(data, SimulationResult | TrialSpikes):
        return counts(data, layer, window).mean(1)
    array = real_numbers("patterns", data)
    if array.ndim < 2 or not array.size:
        raise InputError(
            f"patterns have the shape {array.shape}, expected finite numbers, "
            "(n_stimuli, n_repeats, n_neurons) or (n_stimuli, ...)"
        )
    return array.mean(1) if array.ndim == 3 else array.reshape(len(array), -1)


def rdm(
    data: Any,
    layer: str | None = None,
    *,
    window: Any = None,
    metric: Literal["correlation", "euclidean", "cosine"] = "correlation",
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

    if metric not in METRICS:
        raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
    patterns = _patterns(data, layer, window)
    if len(patterns) < 3:
        raise InputError(f"an RDM needs at least 3 stimuli, found {len(patterns)}")
    if metric != "euclidean":
        # Patterns without variation have no correlation: NaN, without a warning.
        centred = patterns
        if metric == "correlation":
            centred = patterns - patterns.mean(1, keepdims=True)
        length = np.linalg.norm(centred, axis=1)
        flat = length <= 1e-9 * np.linalg.norm(patterns, axis=1)
        centred = centred / np.where(flat, 1, length)[:, None]
        values = 1 - np.clip(centred @ centred.T, -1, 1)
        values[flat] = np.nan
        values[:, flat] = np.nan
    else:
        values = squareform(pdist(patterns))
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


def _alike(first: FloatArray, second: FloatArray, method: str) -> float:
    from scipy.stats import rankdata

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
    method: Literal["spearman", "pearson"] = "spearman",
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
    for name, number in (
        ("n_bootstrap", n_bootstrap),
        ("n_permutations", n_permutations),
        ("seed", seed),
    ):
        check_whole(name, number, 0)
    a, b = (
        real_numbers("a matrix", m.values if isinstance(m, Rdm) else m, known=False)
        for m in (first, second)
    )
    if a.ndim != 2 or a.shape != b.shape or len(a) != a.shape[1] or len(a) < 4:
        raise InputError(
            f"matrices have the shapes {a.shape} and {b.shape}, expected two square "
            "ones of the same stimuli, at least 4"
        )
    for matrix in (a, b):
        if not np.allclose(matrix, matrix.T, equal_nan=True):
            raise InputError(
                "a matrix is not symmetric, expected dissimilarities of pairs"
            )
    if method not in ("spearman", "pearson"):
        raise InputError(f"method={method!r}: expected 'spearman' or 'pearson'")
    rng = np.random.default_rng(seed)
    n = len(a)
    row, column = np.triu_indices(n, 1)
    value = _alike(a[row, column], b[row, column], method)
    drawn = np.full(n_bootstrap, np.nan)
    for k in range(n_bootstrap):
        chosen = rng.integers(n, size=n)
        i, j = chosen[row], chosen[column]
        other = i != j
        drawn[k] = _alike(a[i[other], j[other]], b[i[other], j[other]], method)
    shuffled = np.full(n_permutations, np.nan)
    for k in range(n_permutations):
        order = rng.permutation(n)
        shuffled[k] = _alike(a[order[row], order[column]], b[row, column], method)
    low, high, p_value = np.nan, np.nan, np.nan
    if np.isfinite(drawn).any():
        low, high = np.nanquantile(drawn, [0.025, 0.975])
    if np.isfinite(value) and n_permutations:
        # Ranks in another order add up to the same, but for the last digits.
        p_value = (1 + (shuffled >= value - 1e-12).sum()) / (1 + n_permutations)
    known = np.isfinite(a[row, column]) & np.isfinite(b[row, column])
    return Comparison(
        value, float(low), float(high), float(p_value), method, int(known.sum())
    )
