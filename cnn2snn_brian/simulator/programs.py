"""Compiled programs that stay alive, and run one shard after another."""

import os
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cnn2snn_brian.errors import SimulationError
from cnn2snn_brian.files import write_errors
from cnn2snn_brian.simulator.compiler import PROGRAM
from cnn2snn_brian.simulator.protocol import ProgramInputs, ProgramOutputs

#: The exit codes of ``population.h`` in words.
ENDED = {
    3: "could not use its inputs",
    4: "could not write its results (TMPDIR can name a folder with more space)",
    130: "was interrupted",
}


class Program:
    """A compiled program, which ends with this object. It reads the folders of runs."""

    alive: "weakref.WeakSet[Program]" = weakref.WeakSet()

    def __init__(self, project: Path) -> None:
        pipe = subprocess.PIPE
        process = self.process = subprocess.Popen(
            [str(project / PROGRAM)],
            cwd=project,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
        )
        # Not to a file: what it says last is that the disk is full.
        words = self._words = bytearray()

        def listen() -> None:
            with process.stderr as said:  # type: ignore[union-attr]
                words.extend(said.read())

        self._listener = threading.Thread(target=listen, daemon=True)
        self._listener.start()
        self.end = weakref.finalize(self, _end, process)
        self.alive.add(self)

    def run(self, folder: str, advance: Callable[[int], object]) -> None:
        """Run a shard."""
        process: Any = self.process
        with suppress(BrokenPipeError):  # it has ended: its last words say why
            process.stdin.write(os.fsencode(folder) + b"\n")
        while said := process.stdout.read(4096):
            is_done = said.endswith(b"\0")
            advance(said.count(b".") + is_done)
            if is_done:
                return
        status = process.wait()
        self._listener.join()
        ended = ENDED.get(status, f"ended with exit code {status}")
        if status < 0:
            ended = f"was ended by signal {signal.Signals(-status).name}"
        words = self._words.decode(errors="replace")[-1000:].strip()
        raise SimulationError(
            f"the compiled program {ended}: {words or 'it said nothing'}"
        )


def _end(process: Any) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        pipe.close()


def _let_go() -> None:
    """After a fork, in the child: programs wait for their parent, not for us."""
    for program in list(Program.alive):
        program.end()  # kills nothing: it is no child of this process


os.register_at_fork(after_in_child=_let_go)


class Programs:
    """The programs of a project, one for each shard at a time."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._idle: list[Program] = []

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is idle."""
        while self._idle:
            self._idle.pop().end()

    def take(self) -> Program:
        """Take a program that is idle, or start one."""
        with suppress(IndexError):
            while True:
                program = self._idle.pop()
                if program.process.poll() is None:
                    return program
        return Program(self.project)

    def give(self, program: Program) -> None:
        """Give a program back, for the next shard."""
        self._idle.append(program)


class Call:
    """What one call runs, so that all of it can be ended at once."""

    def __init__(
        self,
        programs: Programs,
        advance: Callable[[int], object] = lambda images: None,
    ) -> None:
        self._programs, self._advance = programs, advance
        self._lock = threading.Lock()
        self._busy: set[Program] = set()
        self._stopped = False

    @contextmanager
    def _program(self) -> Iterator[Program]:
        with self._lock:
            if self._stopped:
                raise SimulationError("interrupted")
            program = self._programs.take()
            self._busy.add(program)
        try:
            yield program
        except BaseException:
            program.end()  # also on Ctrl-C
            raise
        finally:
            self._busy.discard(program)
        self._programs.give(program)

    def run(self, inputs: ProgramInputs) -> ProgramOutputs:
        """Run a program on images."""
        try:
            with tempfile.TemporaryDirectory(prefix="cnn2snn-brian-") as name:
                folder = Path(name)
                with write_errors(folder / "inputs"):
                    inputs.write(folder / "inputs")
                with self._program() as program:
                    program.run(os.path.join(name, ""), self._advance)
                return ProgramOutputs.read(folder, inputs)
        except OSError as error:
            raise SimulationError(
                f"the compiled program could not be run: {error}"
            ) from error

    def stop(self) -> None:
        """End all programs, and let no other start."""
        with self._lock:
            self._stopped = True
            for program in self._busy:
                program.process.kill()
