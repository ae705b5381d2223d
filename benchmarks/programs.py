"""The compiled program by itself, without Python around it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cnn2snn_brian import Simulator, program
from cnn2snn_brian.layers import to_neurons

__all__ = ["command", "prepared"]


@contextmanager
def prepared(simulator: Simulator, pictures: Any) -> Iterator[Path]:
    """
    Write the inputs of a program run.

    Parameters
    ----------
    simulator : Simulator
        The compiled network.
    pictures : ndarray of float32, shape (n_images, channels, height, width)
        What to show.

    Yields
    ------
    Path
        A folder for `command`.
    """
    snn = simulator.snn
    inputs = program.ProgramInputs(
        snn.parameters,
        to_neurons(pictures, snn.input_shape),
        snn.layers[0] if snn.encoding == "current" else None,
        program.picture_seeds(0, 0, len(pictures)),
        simulator._record_mask((), len(pictures)),
        program.count_dtype(simulator.n_steps),
    )
    with TemporaryDirectory(prefix="benchmark-") as name:
        inputs.write(Path(name) / "inputs")
        yield Path(name)


def command(
    simulator: Simulator, directory: Path, before: tuple[str, ...] = ()
) -> "subprocess.Popen[bytes]":
    """
    Start the program. It writes a dot for each picture.

    Parameters
    ----------
    simulator : Simulator
        The compiled network.
    directory : Path
        Where the inputs are, see `prepared`.
    before : tuple of str
        A command that gets the program as its arguments.

    Returns
    -------
    subprocess.Popen
        The process, with its standard output as a pipe.
    """
    return subprocess.Popen(
        [
            *before,
            str(simulator._program),
            "--results_dir",
            os.path.join(directory, ""),
        ],
        cwd=simulator._project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
