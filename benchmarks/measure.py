"""
Rounds of measurements, what they say together, and tables of that.

A shared machine is noisy, and its speed drifts. So everything in one table is measured
in turn, A B C A B C, and a ratio is taken within a round, of neighbours in time.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Summary",
    "Table",
    "cores",
    "linear_fit",
    "pinned",
    "processor_seconds",
    "ratios",
    "rounds",
    "seconds",
    "timed_rounds",
]


@dataclass(frozen=True)
class Summary:
    """
    Median, smallest and largest of repeated measurements.

    Attributes
    ----------
    median, low, high : float
        Of the values.
    values : tuple of float
        One a round, in order.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """
        Summarize measurements.

        Parameters
        ----------
        values : sequence of float
            One a round.

        Returns
        -------
        Summary
            Of them.
        """
        numbers = tuple(float(value) for value in values)
        return cls(statistics.median(numbers), min(numbers), max(numbers), numbers)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


def _short(value: float) -> str:
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits if abs(value) >= 0.1 or value == 0 else 4}f}"


def _cell(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return _short(value) if isinstance(value, float) else str(value)


@dataclass
class Table:
    """
    A table of a benchmark.

    Attributes
    ----------
    name : str
        Name of its JSON file.
    title : str
        One line on what was measured.
    rows : list of dict
        The rows. A value is a str, a number, or a `Summary`.
    notes : list of str
        What a reader has to know.
    load : list of float
        Load average of the last minute, before and after.
    """

    name: str
    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load: list[float] = field(default_factory=list)

    def markdown(self) -> str:
        """
        Write the table for a reader.

        Returns
        -------
        str
            Markdown. Medians, with the smallest and the largest value behind them.
        """
        lines = [f"## {self.title}", ""]
        if self.rows:
            columns = list(dict.fromkeys(key for row in self.rows for key in row))
            lines += [
                f"| {' | '.join(columns)} |",
                f"| {' | '.join('---' for _ in columns)} |",
            ]
            for row in self.rows:
                cells = (_cell(row[key]) if key in row else "" for key in columns)
                lines.append(f"| {' | '.join(cells)} |")
            lines.append("")
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def write(self, directory: Path) -> dict[str, Any]:
        """
        Write the table to a JSON file.

        Parameters
        ----------
        directory : Path
            An existing folder.

        Returns
        -------
        dict
            What was written.
        """
        content = {
            "name": self.name,
            "title": self.title,
            "rows": [
                {
                    key: asdict(value) if isinstance(value, Summary) else value
                    for key, value in row.items()
                }
                for row in self.rows
            ],
            "notes": self.notes,
            "load_average": self.load,
        }
        path = directory / f"{self.name}.json"
        path.write_text(json.dumps(content, indent=2) + "\n")
        return content


def rounds(
    actions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[Any]]:
    """
    Do everything in turn, several times over.

    Parameters
    ----------
    actions : dict of str to callable
        What to do, by name.
    repeats : int
        Number of rounds.

    Returns
    -------
    dict of str to list
        What each returned, by round.
    """
    results: dict[str, list[Any]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            results[name].append(action())
    return results


def seconds(action: Callable[[], Any]) -> float:
    """
    Time something.

    Parameters
    ----------
    action : callable
        What to do.

    Returns
    -------
    float
        Seconds of wall time.
    """
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def processor_seconds(action: Callable[[], Any]) -> float:
    """
    Measure the processor time of something, with that of the programs it uses.

    Parameters
    ----------
    action : callable
        What to do.

    Returns
    -------
    float
        Seconds, to a hundredth, of this process and its children, alive or not.
    """
    import psutil

    this = psutil.Process()

    def now() -> float:
        alive = (child.cpu_times()[:2] for child in this.children(recursive=True))
        return sum(this.cpu_times()[:4]) + sum(map(sum, alive))

    start = now()
    action()
    return now() - start


def timed_rounds(
    actions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """
    Time everything in turn, several times over.

    Parameters
    ----------
    actions : dict of str to callable
        What to do, by name. Each is done once before, untimed.
    repeats : int
        Number of rounds.

    Returns
    -------
    dict of str to list of float
        Seconds by round.
    """
    rounds(actions, 1)

    def timed(action: Callable[[], Any]) -> Callable[[], float]:
        return lambda: seconds(action)

    return rounds({name: timed(actions[name]) for name in actions}, repeats)


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Summary:
    """
    Divide round by round.

    Parameters
    ----------
    numerator, denominator : sequence of float
        One value a round.

    Returns
    -------
    Summary
        Of the ratios of the rounds.
    """
    return Summary.of([a / b for a, b in zip(numerator, denominator, strict=True)])


def linear_fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """
    Fit a line by least squares.

    Parameters
    ----------
    x, y : sequence of float
        The points.

    Returns
    -------
    intercept, slope : float
        Of the line.
    """
    slope, intercept = statistics.linear_regression(x, y)
    return intercept, slope


def cores() -> list[int]:
    """
    List the cores that this process may use.

    Returns
    -------
    list of int
        Their numbers. Empty where the system does not tell.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))


@contextmanager
def pinned(n: int) -> Iterator[None]:
    """
    Keep this process and those that it starts on a few cores.

    Parameters
    ----------
    n : int
        Number of cores; the last ones, as the first serves most interrupts.

    Yields
    ------
    None
        Afterwards, the cores are as before. Nothing happens where the system can't.
    """
    before = cores()
    if not before:
        yield
        return
    os.sched_setaffinity(0, before[-n:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
