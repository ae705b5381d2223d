"""Memory of a program run."""

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from brian2 import ms

from benchmarks.cost import show
from benchmarks.measure import Summary, Table, rounds
from benchmarks.networks import PAPER, Options, paper_workload

__all__ = ["memory", "own_peak_mb", "peak_mb"]

N_IMAGES = {"shared": 100, "explicit": 3}


class _Peak(threading.Thread):
    """Watch the processes that this one starts, and keep their largest memory."""

    def __init__(self, every_s: float) -> None:
        super().__init__(daemon=True)
        self.mb, self.every_s = 0.0, every_s
        self._ended = threading.Event()

    def run(self) -> None:
        import psutil

        this = psutil.Process()
        while not self._ended.wait(self.every_s):
            for child in this.children(recursive=True):
                self.mb = max(self.mb, _memory_mb(child.pid))

    def __enter__(self) -> "_Peak":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def _memory_mb(process_id: int) -> float:
    """
    Read the largest memory that a process has had since its program started.

    The system's own count at the end (``ru_maxrss``) starts at the parent's memory.
    """
    folder = Path(f"/proc/{process_id}")
    try:
        # A child begins as a copy of this process.
        if (folder / "exe").resolve() == Path(sys.executable).resolve():
            return 0.0
        status = (folder / "status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0


def own_peak_mb() -> float:
    """
    Read the largest memory of this process since the last call.

    Returns
    -------
    float
        Its peak in MB (10^6 bytes).
    """
    folder = Path("/proc/self")
    found = re.search(r"VmHWM:\s*(\d+) kB", (folder / "status").read_text())
    assert found is not None
    (folder / "clear_refs").write_text("5")
    return int(found.group(1)) * 1024 / 1e6


def peak_mb(action: Callable[[], Any], every_s: float = 1e-3) -> float:
    """
    Measure the memory of programs that are run.

    Parameters
    ----------
    action : callable
        Runs them.
    every_s : float
        From one look at them to the next [s].

    Returns
    -------
    float
        The largest peak of one in MB (10^6 bytes).
    """
    with _Peak(every_s) as peak:
        action()
    if not peak.mb:
        message = "the program ended before its memory could be read"
        raise RuntimeError(message)
    return peak.mb


def memory(options: Options) -> list[Table]:
    """
    Measure the peak memory of program runs.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One, empty on other systems than Linux.
    """
    table = Table("memory", "Peak memory of a program run")
    if not os.path.isdir("/proc/self"):
        table.notes.append("Not measured: this needs Linux.")
        return [table]
    workload = paper_workload(options)
    for kind, n in N_IMAGES.items():
        snn = workload.convert(PAPER, kind)  # type: ignore[arg-type]
        images = workload.images[np.arange(n) % len(workload.images)]
        with snn.compile(PAPER.n_steps * ms) as simulator:
            found = rounds(
                {kind: lambda s=simulator, i=images: peak_mb(show(s, i))},
                options.repeats,
            )
        table.rows.append(
            {
                "synapses": kind,
                "images": n,
                "peak MB": Summary.of(found[kind]),
                "synapses in all": snn.layers.n_synapses,
                "weights": sum(
                    p.connection.n_parameters for p in snn.layers.projections
                ),
            }
        )
    table.notes = [
        *workload.notes,
        "Resident memory of the C++ program (MB = 10^6 bytes), read every "
        "millisecond; Python's own is not in it.",
    ]
    return [table]
