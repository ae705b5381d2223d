"""Averages of a sweep, with confidence intervals."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cnn2snn_brian.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame
from cnn2snn_brian.experiments.sweep import MEASURED

__all__ = ["summary"]


def _grouped(frame: Any, by: list[str]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Rows of each setting; of all together if there is only one setting."""
    if not by:
        yield (), frame
        return
    yield from frame.groupby(by, sort=False, dropna=False)


def summary(
    frame: "DataFrame",
    y: str = "accuracy",
    *,
    interval: Literal["t", "wilson"] = "t",
    level: float = 0.95,
) -> "DataFrame":
    r"""
    Average a sweep over its seeds, with confidence intervals.

    Parameters
    ----------
    frame : pandas.DataFrame
        A table of `sweep`.
    y : str
        The column to average.
    interval : {"t", "wilson"}
        "t": Student's interval for the mean over seeds,
        :math:`\bar y \pm t\, s / \sqrt{n}`, of how much the result varies for these
        images. It needs two seeds. "wilson": Wilson's interval [1]_ for the accuracy
        on other images of the same kind; since all seeds show the same images, it
        counts each image once.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    pandas.DataFrame
        A row for each setting: the settings, ``mean``, ``sd``, ``n`` (seeds), ``low``
        and ``high``; the last two are NaN if there is no interval.

    Raises
    ------
    InputError
        If there is no such column or interval, or the level is not in (0, 1).

    References
    ----------
    .. [1] Wilson (1927), Probable inference, the law of succession, and statistical
       inference, doi:10.1080/01621459.1927.10502953
    """
    from pandas import DataFrame
    from scipy import stats

    if y not in frame.columns:
        message = f"y={y!r}: the table has {', '.join(map(str, frame.columns))}"
        raise InputError(message)
    if interval not in ("t", "wilson") or (interval == "wilson" and y != "accuracy"):
        message = (
            f"interval={interval!r} of {y!r}: expected 't', or 'wilson' of 'accuracy'"
        )
        raise InputError(message)
    if not 0 < level < 1:
        message = f"level is {level}, expected above 0 and below 1"
        raise InputError(message)
    by = [name for name in frame.columns if name not in MEASURED]
    rows = []
    for values, part in _grouped(frame, by):
        sample = part[y].to_numpy(float)
        n, mean = len(sample), sample.mean()
        sd = sample.std(ddof=1) if n > 1 else np.nan
        if interval == "t":
            # Without a second seed sd is NaN, and so is the interval.
            half = stats.t.ppf((1 + level) / 2, max(n - 1, 1)) * sd / np.sqrt(n)
            low, high = mean - half, mean + half
        else:
            z, m = stats.norm.ppf((1 + level) / 2), part["n_images"].iloc[0]
            centre = (mean + z**2 / (2 * m)) / (1 + z**2 / m)
            half = z * np.sqrt(mean * (1 - mean) / m + (z / (2 * m)) ** 2)
            low, high = centre - half / (1 + z**2 / m), centre + half / (1 + z**2 / m)
        rows.append([*values, mean, sd, n, low, high])
    return DataFrame(rows, columns=[*by, "mean", "sd", "n", "low", "high"])
