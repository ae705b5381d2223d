"""Memory of a program run."""

import os
import re
from pathlib import Path

import numpy as np
from brian2 import ms

from benchmarks.measure import Summary, Table, rounds
from benchmarks.networks import PAPER, Options, paper_workload
from benchmarks.programs import command, prepared
from cnn2snn_brian import Simulator

__all__ = ["memory"]

N_PICTURES = {"shared": 100, "explicit": 3}


def _peak_mb(process_id: int) -> float:
    """
    Read the largest memory that a process has had since its program started.

    The system's own count at the end (``ru_maxrss``) starts at the parent's memory.
    """
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0


def _run(simulator: Simulator, directory: Path) -> float:
    peak = 0.0
    with command(simulator, directory) as process:
        assert process.stdout is not None
        while process.stdout.read(1):  # after each picture
            peak = max(peak, _peak_mb(process.pid))
    if process.returncode or not peak:
        message = f"the program ended with {process.returncode}, peak {peak} MB"
        raise RuntimeError(message)
    return peak


def memory(options: Options) -> list[Table]:
    """
    Measure the peak memory of program runs.

    Parameters
    ----------
    options : Options
        Number of rounds and pictures.

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
    for kind, n in N_PICTURES.items():
        snn = workload.convert(PAPER, kind)  # type: ignore[arg-type]
        pictures = workload.pictures[np.arange(n) % len(workload.pictures)]
        with (
            snn.compile(PAPER.n_steps * ms) as simulator,
            prepared(simulator, pictures) as directory,
        ):
            found = rounds(
                {kind: lambda s=simulator, d=directory: _run(s, d)}, options.repeats
            )
        table.rows.append(
            {
                "synapses": kind,
                "pictures": n,
                "peak MB": Summary.of(found[kind]),
                "synapses in all": snn.layers.n_synapses,
                "weights": sum(layer.n_parameters for layer in snn.layers),
            }
        )
    table.notes = [
        *workload.notes,
        "Resident memory of the C++ program (MB = 10^6 bytes), read after each "
        "picture; Python's own is not in it.",
    ]
    return [table]
