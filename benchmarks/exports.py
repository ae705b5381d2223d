"""What exporting 20,000 spike trains takes, of one image and of a hundred."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brian2 import ms
from torch import nn

from benchmarks.measure import Summary, Table, timed_rounds
from benchmarks.networks import Options
from cnn2snn_brian import SimulationResult, convert

__all__ = ["exports"]

#: Channels, height and width of the layer, and images: 20,000 trains both times.
SIZES = (((20, 40, 25), 1), ((2, 10, 10), 100))


def _result(shape: tuple[int, int, int], n_images: int) -> SimulationResult:
    """Record a convolution of this shape, T = 200."""
    channels, height, width = shape
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * height * width, 10),
    )
    images = np.random.default_rng(0).random((n_images, 1, height, width), np.float32)
    snn = convert(cnn.eval(), (1, height, width), calibration=images)
    with snn.compile(200 * ms) as simulator:
        return simulator.run(images, seed=1, record=["conv1"], progress=False)


def exports(options: Options) -> list[Table]:
    """
    Time the exports of single spikes.

    Parameters
    ----------
    options : Options
        Number of rounds.

    Returns
    -------
    list of Table
        One.
    """
    table = Table("exports", "Exports of 20,000 spike trains, T = 200")
    for shape, n_images in SIZES:
        result = _result(shape, n_images)
        neurons = int(np.prod(shape))
        n_spikes = int(result.spike_counts["conv1"].sum())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "session.nwb"
            calls: dict[str, Any] = {
                "to_neo": lambda result=result: result.to_neo(layers=["conv1"]),
                "to_pynapple": lambda result=result: result.to_pynapple(["conv1"]),
                "to_nwb": lambda result=result, path=path: result.to_nwb(
                    path, ["conv1"]
                ),
            }
            found = timed_rounds(calls, options.repeats)
            size = path.stat().st_size
        for call, times in found.items():
            row: dict[str, Any] = {
                "call": call,
                "images": n_images,
                "neurons": neurons,
                "spikes": n_spikes,
                "s": Summary.of(times),
            }
            row["MB"] = size / 1e6 if call == "to_nwb" else "-"
            table.rows.append(row)
    table.notes = [
        "An untrained convolution of noise; how much it spikes hardly matters.",
        "pynapple and NWB have a train for each neuron, Neo one for each neuron and "
        "image.",
    ]
    return [table]
