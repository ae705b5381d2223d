"""How long setting thresholds takes."""

import time
from dataclasses import replace

import numpy as np
from brian2 import ms

from benchmarks.measure import Summary, Table
from benchmarks.networks import PAPER, Options, paper_workload
from cnn2snn_brian import tune_thresholds

__all__ = ["tuning"]

N_IMAGES = 200
BUDGET = 100


def tuning(options: Options) -> list[Table]:
    """
    Time a search and a listing of 100 candidates on 200 images.

    Parameters
    ----------
    options : Options
        Number of rounds; the number of images is fixed.

    Returns
    -------
    list of Table
        One.
    """
    workload = paper_workload(replace(options, n_images=N_IMAGES))
    snn = workload.convert(PAPER)
    labels = np.arange(N_IMAGES) % 10
    table = Table(
        "tuning",
        f"Threshold setting: {BUDGET} candidates, {N_IMAGES} images, T = 100",
    )
    with snn.compile(100 * ms) as simulator:
        for method, start in (("search", None), ("feedback", snn.thresholds)):
            seconds = []
            for seed in range(options.repeats):
                begin = time.perf_counter()
                result = tune_thresholds(
                    simulator,
                    workload.images,
                    labels,
                    method=method,
                    objective="agreement",
                    start=start,
                    budget=BUDGET,
                    held_out=0,
                    seed=seed,
                    progress=False,
                )
                seconds.append(time.perf_counter() - begin)
            table.rows.append(
                {
                    "method": method,
                    "candidates": len(result.history),
                    "images simulated": int(result.history["n_images"].sum()),
                    "s": Summary.of(seconds),
                }
            )
    table.notes = [
        *workload.notes,
        "The feedback begins at data-based thresholds, where layers spike much.",
        "Labels are made up; they don't change the time.",
    ]
    return [table]
