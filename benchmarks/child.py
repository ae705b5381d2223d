"""
Simulators in processes of their own, each with its own threads and cores.

A child loads its task, gets ready, and then runs whenever it is told to. It sleeps in
between, so that children can take turns.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from brian2 import ms

from benchmarks.competitors import COMPETITORS
from benchmarks.machine import compiled_for
from benchmarks.measure import pinned, seconds
from benchmarks.networks import Settings, Workload

__all__ = ["OURS", "Child", "Task"]

OURS = "cnn2snn_brian"
CHECKOUT = Path(__file__).parents[1]

Run = Callable[[], Any]


@dataclass(frozen=True)
class Task:
    """
    What a child does.

    Attributes
    ----------
    simulator : str
        `OURS` or a key of `COMPETITORS`.
    workload : Workload
        The CNN and its images.
    settings : Settings
        The dynamics.
    n_cores : int
        Number of cores that the process is kept on.
    n_workers : int
        Threads of torch, or worker processes of ours.
    arguments : dict of str to object
        Arguments of our runs, such as calibrated thresholds.
    """

    simulator: str
    workload: Workload
    settings: Settings
    n_cores: int = 1
    n_workers: int = 1
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Child(AbstractContextManager["Child"]):
    """
    A process that runs a task again and again.

    Parameters
    ----------
    task : Task
        What it runs.

    Attributes
    ----------
    about : dict
        How the child runs the task: ``batch size``, ``mode`` and ``classes``.
    """

    def __init__(self, task: Task) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="benchmark-")
        path = Path(self._directory.name) / "task"
        path.write_bytes(pickle.dumps(task))
        threads = str(task.n_workers)
        with pinned(task.n_cores):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=CHECKOUT,
                env={
                    **os.environ,
                    "OMP_WAIT_POLICY": "passive",
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                },
            )
        try:
            self.about = self._answer()
        except BaseException:
            self.__exit__()
            raise

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = "a benchmark's child process ended early, see above"
            raise RuntimeError(message)
        return json.loads(line)

    def run(self) -> float:
        """
        Simulate all images once.

        Returns
        -------
        float
            Seconds.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._answer())

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()  # the child reads the end, and ends too
            self._process.wait(30)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._directory.cleanup()


def _ours(task: Task) -> tuple[Run, dict[str, Any]]:
    snn = task.workload.convert(task.settings)
    with compiled_for(task.settings.processor):
        simulator = snn.compile(task.settings.n_steps * ms)
    images = task.workload.images

    def run() -> Any:
        return simulator.run(
            images, executor=task.n_workers, progress=False, **task.arguments
        )

    classes = run().predictions.tolist()
    return run, {"mode": "C++ program", "batch size": len(images), "classes": classes}


def _theirs(task: Task) -> tuple[Run, dict[str, Any]]:
    """Choose the fastest way and batch size by a short trial."""
    torch.set_num_threads(task.n_workers)
    images = torch.from_numpy(np.array(task.workload.images))
    best: tuple[float, Any, str, int] | None = None
    for make, batch_sizes in COMPETITORS[task.simulator]:
        simulate = make(task.workload, task.settings)
        for size in batch_sizes:
            if size > len(images) and size != min(batch_sizes):
                continue
            batch = images[:size]
            with torch.inference_mode():
                simulate(batch[:1])
                simulate(batch)
                # Two runs of a batch, the faster counts.
                trial = min(seconds(lambda s=simulate, b=batch: s(b)) for _ in "ab")
            cost = trial / len(batch)
            if best is None or cost < best[0]:
                best = cost, simulate, make.__name__, size
    assert best is not None
    _, chosen, mode, batch_size = best

    def run() -> list[int]:
        scores = []
        with torch.inference_mode():
            for batch in images.split(batch_size):
                scores.append(chosen(batch))
        return torch.cat(scores).argmax(1).tolist()

    return run, {"mode": mode, "batch size": batch_size, "classes": run()}


def main() -> None:
    """Get ready, and run once for each line on standard input."""
    # Libraries may print; the parent reads answers only.
    answers: IO[str] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = pickle.loads(Path(sys.argv[1]).read_bytes())
    run, about = _ours(task) if task.simulator == OURS else _theirs(task)
    print(json.dumps(about), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, file=answers, flush=True)


if __name__ == "__main__":
    main()
