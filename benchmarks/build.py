"""Building: from nothing, and in a second process that finds the program."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from brian2 import ms

from benchmarks.child import CHECKOUT
from benchmarks.measure import Summary, Table
from benchmarks.networks import PAPER, Options, Workload, paper_workload

__all__ = ["build"]


def _in_a_new_process(task: Path, cache: Path) -> dict[str, Any]:
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.build", str(task), str(cache)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=CHECKOUT,
    )
    found = json.loads(result.stdout.splitlines()[-1])
    return {**found, "process": time.perf_counter() - start}


def build(options: Options) -> list[Table]:
    """
    Measure the time to a program, and to the first spikes.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One.

    Raises
    ------
    RuntimeError
        If a program was compiled that should have been found, or the reverse.
    """
    workload = paper_workload(options)
    cold, warm = [], []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        task = Path(name) / "task"
        task.write_bytes(pickle.dumps(workload))
        for index in range(options.repeats):
            cache = Path(name) / f"cache{index}"
            cold.append(_in_a_new_process(task, cache))
            warm.append(_in_a_new_process(task, cache))
    if not all(run["compiled"] for run in cold) or any(r["compiled"] for r in warm):
        message = "the cache was not empty at first, or the program was compiled twice"
        raise RuntimeError(message)
    table = Table("build", "Building the paper's CNN, each time in a new process")
    for label, runs in (("empty cache", cold), ("program in the cache", warm)):
        table.rows.append(
            {
                "process": label,
                "s compile()": Summary.of([run["compile"] for run in runs]),
                "s compile() to results": Summary.of([run["total"] for run in runs]),
                "s whole process": Summary.of([run["process"] for run in runs]),
            }
        )
    table.notes = [
        *workload.notes,
        "'compile() to results' is compile() and a run of 1 image. With the program in "
        "the cache, compile() is Brian2's code generation and looking for the program; "
        "what it takes longer without is the C++ compiler. The whole process includes "
        "the imports of Python, torch and Brian2.",
    ]
    return [table]


def _measure(workload: Workload, cache: Path) -> dict[str, Any]:
    snn = workload.convert(PAPER)
    start = time.perf_counter()
    simulator = snn.compile(PAPER.n_steps * ms, cache_directory=cache)
    compiled = time.perf_counter()
    simulator.run(workload.images[:1], executor=1, progress=False)
    end = time.perf_counter()
    was_compiled = simulator.compiled
    simulator.close()
    return {
        "compile": compiled - start,
        "total": end - start,
        "compiled": was_compiled,
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    found = _measure(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
    print(json.dumps(found), file=answers, flush=True)
