"""One worker process against two, and the default with few images."""

from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from brian2 import ms

from benchmarks.child import OURS, Child, Task
from benchmarks.measure import Summary, Table, cores, ratios, rounds, seconds
from benchmarks.networks import PAPER, Options, Settings, paper_workload

__all__ = ["small_batches", "workers"]

#: Images of a call, and how often it is made in a round.
BATCHES = {1: 40, 2: 20, 5: 10, 10: 10, 40: 5, 200: 3}


def workers(options: Options) -> list[Table]:
    """
    Compare numbers of workers, all on the same two cores.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One.
    """
    workload = paper_workload(options)
    n = len(workload.images)
    with ExitStack() as stack:
        children = {
            count: stack.enter_context(Child(Task(OURS, workload, PAPER, 2, count)))
            for count in (1, 2)
        }
        actions = {str(count): child.run for count, child in children.items()}
        rounds(actions, 1)
        found = rounds(actions, options.repeats)
    table = Table("workers", "Worker processes, T = 100")
    for count, times in found.items():
        table.rows.append(
            {
                "workers": int(count),
                "ms per image": Summary.of([1e3 * s / n for s in times]),
                "times as fast": ratios(found["1"], times),
            }
        )
    table.notes = [*workload.notes, f"{n} images; all that `run` does is counted."]
    if cores() and len(cores()) < 2:
        table.notes.append("There is one core only: two workers share it.")
    return [table]


def small_batches(options: Options) -> list[Table]:
    """
    Compare the default executor with one worker, from one image on.

    Parameters
    ----------
    options : Options
        Number of rounds.

    Returns
    -------
    list of Table
        One.
    """
    workload = paper_workload(replace(options, n_images=max(BATCHES)))
    snn = workload.convert(Settings(preset="few-steps"))
    executors = {"default": None, "one worker": 1}
    with snn.compile(24 * ms) as simulator:

        def timed(n: int) -> dict[str, float]:
            """Give the median of neighbouring calls of each kind, by turns."""

            def call(executor: Any) -> float:
                images = workload.images[:n]
                return seconds(
                    lambda: simulator.run(images, executor=executor, progress=False)
                )

            found: dict[str, list[float]] = {name: [] for name in executors}
            for _, name in product(range(BATCHES[n]), executors):
                found[name].append(call(executors[name]))
            return {name: median(times) for name, times in found.items()}

        actions = {str(n): lambda n=n: timed(n) for n in BATCHES}
        rounds(actions, 1)
        times = rounds(actions, options.repeats)
    table = Table("small_batches", "Calls with few images, few-steps, T = 24")
    one = {n: np.array([own["one worker"] for own in times[str(n)]]) for n in BATCHES}
    for n in BATCHES:
        default = [own["default"] for own in times[str(n)]]
        table.rows.append(
            {
                "images": n,
                "ms per image": Summary.of([1e3 * s / n for s in default]),
                "with one worker": Summary.of([1e3 * s / n for s in one[n]]),
                "times as fast": ratios(one[n], default),
            }
        )
    further = Summary.of(1e3 * (one[200] - one[40]) / 160)
    beyond = Summary.of(1e3 * one[1] - np.array(further.values))
    table.notes = [
        *workload.notes,
        f"All that `run` does is counted, the program's start is not. A further image "
        f"takes {further} ms, so a call with one takes {beyond} ms beyond it.",
    ]
    return [table]
