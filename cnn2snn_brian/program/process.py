"""Run a compiled program as a process."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn2snn_brian.errors import SimulationError
from cnn2snn_brian.files import write_errors
from cnn2snn_brian.program.protocol import ProgramInputs, ProgramOutputs

__all__ = ["Running", "run"]


#: The exit codes of ``population.h`` in words.
ENDED = {
    3: "could not use its inputs",
    4: "could not write its results (TMPDIR can name a folder with more space)",
    130: "was interrupted",
}


def _failure(status: int, said: bytes) -> SimulationError:
    if status < 0:
        ended = f"was ended by signal {signal.Signals(-status).name}"
    else:
        ended = ENDED.get(status, f"ended with exit code {status}")
    words = said.decode(errors="replace")[-1000:].strip() or "it said nothing"
    return SimulationError(f"the compiled program {ended}: {words}")


class Running:
    """Programs that run at the moment, so that all can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def start(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """
        Start a program.

        Parameters
        ----------
        command : list of str
            The program and its arguments.
        **options
            Of ``subprocess.Popen``.

        Returns
        -------
        subprocess.Popen
            The process.

        Raises
        ------
        SimulationError
            If all programs have been ended.
        """
        with self._lock:
            if self._stopped:
                message = "interrupted"
                raise SimulationError(message)
            process = subprocess.Popen(command, **options)
            self._processes.add(process)
            return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """
        End a program, if it has not ended by itself, and wait until it is gone.

        Parameters
        ----------
        process : subprocess.Popen
            The process.
        """
        process.kill()
        process.wait()
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        """End all programs, and let no other start."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()


def run(
    program: Path,
    project: Path,
    inputs: ProgramInputs,
    advance: Callable[[int], object] = lambda steps: None,
    running: Running | None = None,
) -> ProgramOutputs:
    """
    Run a compiled program on images.

    Parameters
    ----------
    program : Path
        The program.
    project : Path
        The project folder with its weights.
    inputs : ProgramInputs
        What to run.
    advance : callable
        Called with 1 after each image.
    running : Running, optional
        Where the process is noted while it runs.

    Returns
    -------
    ProgramOutputs
        The results.

    Raises
    ------
    SimulationError
        If the program ends before it has delivered all results, or there is no space
        for them.
    """
    running = running or Running()
    try:
        with tempfile.TemporaryDirectory(prefix="cnn2snn-brian-") as name:
            directory = Path(name)
            with write_errors(directory / "inputs"):
                inputs.write(directory / "inputs")
            process = running.start(
                [str(program), "--results_dir", os.path.join(name, "")],
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            # Not to a file: what it says last is that the disk is full.
            said: list[bytes] = []
            listener = threading.Thread(
                target=lambda stream: said.append(stream.read()), args=[process.stderr]
            )
            listener.start()
            try:
                while process.stdout.read(1):
                    advance(1)
                status = process.wait()
            finally:
                # Also on Ctrl-C: no program goes on without its parent.
                running.end(process)
                listener.join()
                process.stdout.close()
                process.stderr.close()
            if status:
                raise _failure(status, b"".join(said))
            return ProgramOutputs.read(directory, inputs.n_images, inputs.count_dtype)
    except OSError as error:
        message = f"the compiled program could not be run: {error}"
        raise SimulationError(message) from error
