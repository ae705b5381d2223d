"""Building: from nothing, and in a second process; what large CNNs take."""

import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from brian2 import ms
from torchvision import models as torchvision_models

from benchmarks.child import CHECKOUT
from benchmarks.measure import Summary, Table
from benchmarks.memory import peak_mb
from benchmarks.networks import PAPER, Options, Workload, paper_workload
from cnn2snn_brian import convert, models

__all__ = ["build", "compile_times"]

#: The paper's CNN and some of torchvision, with the sides of their images.
COMPILED = {
    "cifar10_quick_adjusted": 32,
    "resnet18": 224,
    "googlenet": 224,
    "densenet121": 224,
}


def _in_a_new_process(task: Path | str, cache: Path) -> dict[str, Any]:
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


def compile_times(options: Options) -> list[Table]:
    """
    Measure what the compiler takes for networks of many layers.

    Parameters
    ----------
    options : Options
        Not used: each network is compiled once.

    Returns
    -------
    list of Table
        One.
    """
    table = Table("compile_times", "Compiling with an empty cache, once each")
    for name in COMPILED:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as cache:
            found = _in_a_new_process(name, Path(cache))
        found.pop("process")
        table.rows.append({"network": name, **found})
    table.notes = [
        "A new process for each network, preset 'few-steps', maximum pooling as a "
        "gate. compile() is Brian2's code generation, the compiler on all cores, and "
        "the start of the program. The peak is that of the compiler's largest process.",
    ]
    return [table]


def _compile(name: str, cache: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    if hasattr(torchvision_models, name):
        extra = {"aux_logits": False, "init_weights": False}
        cnn = getattr(torchvision_models, name)(**extra if name == "googlenet" else {})
    else:
        cnn, _ = models.pretrained(name)
    shape = 3, COMPILED[name], COMPILED[name]
    snn = convert(
        cnn.eval(), shape, preset="few-steps", thresholds=1.0, max_pooling="gate"
    )
    times, spent = [time.perf_counter()], resource.getrusage(resource.RUSAGE_CHILDREN)
    started = spent.ru_utime + spent.ru_stime

    def compiled() -> None:
        with snn.compile(4 * ms, cache_directory=cache):
            times.append(time.perf_counter())

    peak = peak_mb(compiled, every_s=0.1)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "projections": len(snn.layers.projections),
        "s compile()": times[1] - times[0],
        "s of all compiler processes": spent.ru_utime + spent.ru_stime - started,
        "peak MB of a compiler process": peak,
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task, cache = sys.argv[1:]
    if task in COMPILED:
        found = _compile(task, Path(cache))
    else:
        found = _measure(pickle.loads(Path(task).read_bytes()), Path(cache))
    print(json.dumps(found), file=answers, flush=True)
