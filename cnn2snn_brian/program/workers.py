"""
Spread pictures over workers: this machine's cores, or any executor.

Pictures are divided into shards. A shard is one run of the compiled program. What comes
out for a picture does not depend on its shard, so neither the number of workers nor the
size of the shards changes a result.
"""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from filelock import FileLock

from cnn2snn_brian.errors import InputError, SimulationError
from cnn2snn_brian.program.cache import LOCK, PROJECT, check_cache
from cnn2snn_brian.program.compiler import build_program
from cnn2snn_brian.program.process import Running, run
from cnn2snn_brian.program.protocol import ProgramInputs, ProgramOutputs

__all__ = ["Project", "Workers", "check_workers", "n_cores", "run_shard", "run_shards"]

#: Who runs the shards: None for all cores, a number of programs at a time, an executor.
Workers = int | Executor | None

#: A shard has at most so many pictures: it bounds memory, and what a retry costs.
MAX_SHARD = 100
#: Shards for each local worker: the last ones fill up the time of a slow one.
SHARDS_PER_WORKER = 2
#: Pictures of a shard where the number of workers is not known.
REMOTE_SHARD = 25
#: A shard that fails is tried again, once.
MAX_TRIES = 2


def n_cores() -> int:
    """
    Count the cores that this process may use.

    Returns
    -------
    int
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Project:
    """
    A project's files as bytes, to be sent to workers on other machines.

    Attributes
    ----------
    archive : bytes
        A tar archive of the generated sources and the weights.
    name : str
        Hash of the archive.
    """

    archive: bytes
    name: str

    @classmethod
    def pack(cls, directory: Path) -> "Project":
        """
        Pack a project.

        Parameters
        ----------
        directory : Path
            The project's folder.

        Returns
        -------
        Project
            Its files.
        """
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path in sorted(directory.rglob("*")):
                if path.is_file() and path.name != "program":
                    entry = tarfile.TarInfo(str(path.relative_to(directory)))
                    content = path.read_bytes()
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        archive = buffer.getvalue()
        return cls(archive, hashlib.sha256(archive).hexdigest()[:32])

    def unpack(self, cache: Path) -> Path:
        """
        Unpack the project, unless an earlier shard did.

        Parameters
        ----------
        cache : Path
            The worker's cache directory.

        Returns
        -------
        Path
            The project's folder.
        """
        directory = cache / f"{self.name}{PROJECT}"
        with FileLock(cache / f"{self.name}{LOCK}"):
            if not directory.is_dir():
                unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=cache))
                try:
                    with tarfile.open(fileobj=io.BytesIO(self.archive)) as tar:
                        tar.extractall(unfinished, filter="data")
                    (unfinished / "results").mkdir(exist_ok=True)
                    unfinished.rename(directory)
                except BaseException:
                    shutil.rmtree(unfinished, ignore_errors=True)
                    raise
        os.utime(directory)  # it was of use: others are removed before it
        return directory


def run_shard(project: Project, inputs: ProgramInputs) -> ProgramOutputs:
    """
    Run a shard on a worker, which may be on another machine.

    The worker compiles the project for its own processor, once, into its own cache.

    Parameters
    ----------
    project : Project
        The network.
    inputs : ProgramInputs
        The pictures and parameters.

    Returns
    -------
    ProgramOutputs
        The results.

    Raises
    ------
    BuildError
        If the worker can't compile.
    SimulationError
        If the program fails.
    """
    cache = check_cache()
    directory = project.unpack(cache)
    built = build_program(directory, cache)
    return run(built.program, directory, inputs)


def _shards(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def check_workers(workers: Workers, shard_size: int | None) -> Workers:
    """
    Check who runs the shards, and how large they are.

    Parameters
    ----------
    workers : int, Executor or None
        As `run_shards` takes it.
    shard_size : int, optional
        Pictures of a shard.

    Returns
    -------
    int, Executor or None
        `workers`; a number as an int.

    Raises
    ------
    InputError
        If the number of workers or the shard size is below 1.
    """
    if shard_size is not None and shard_size < 1:
        message = f"shard_size is {shard_size}, expected at least 1"
        raise InputError(message)
    if workers is None or hasattr(workers, "submit"):
        return workers
    is_whole = isinstance(workers, int | np.integer) and not isinstance(workers, bool)
    if not is_whole or workers < 1:  # type: ignore[operator]
        message = (
            f"executor={workers!r}: expected None, a number of at least 1, or an "
            "executor with a method submit"
        )
        raise InputError(message)
    return int(workers)  # type: ignore[arg-type]


def run_shards(
    compiled: Path,
    directory: Path,
    jobs: Sequence[ProgramInputs],
    workers: Workers,
    shard_size: int | None,
    advance: Callable[[int], object],
) -> Iterator[tuple[int, ProgramOutputs]]:
    """
    Run the pictures of several jobs in shards, all shards at once.

    Parameters
    ----------
    compiled : Path
        The program, for workers on this machine.
    directory : Path
        The project's folder.
    jobs : sequence of ProgramInputs
        Pictures and parameters of each job.
    workers : int, Executor or None
        None uses all cores; a number, so many programs at a time; an executor runs
        the shards wherever it does.
    shard_size : int, optional
        Pictures of a shard.
    advance : callable
        Called with the number of pictures that were finished.

    Yields
    ------
    index : int
        Index of a job, in the order in which they finish.
    outputs : ProgramOutputs
        The results of all its pictures, in order.

    Raises
    ------
    SimulationError
        If a shard fails twice; the message has the program's own words.
    """
    if hasattr(workers, "submit"):  # an executor, of whichever library
        project = Project.pack(directory)

        def submit_to(part: ProgramInputs) -> "Future[ProgramOutputs]":
            return workers.submit(run_shard, project, part)  # type: ignore[union-attr]

        yield from _collected(submit_to, jobs, shard_size or REMOTE_SHARD, advance)
        return
    n_workers = n_cores() if workers is None else workers
    assert isinstance(n_workers, int)
    n_shards = n_workers * SHARDS_PER_WORKER if n_workers > 1 else 1
    n_images = sum(job.n_images for job in jobs)
    size = shard_size or min(MAX_SHARD, max(1, -(-n_images // n_shards)))
    running = Running()
    with ThreadPoolExecutor(n_workers) as threads:

        def submit(part: ProgramInputs) -> "Future[ProgramOutputs]":
            return threads.submit(run, compiled, directory, part, advance, running)

        try:
            yield from _collected(submit, jobs, size, lambda done: None)
        except BaseException:
            # Also on Ctrl-C: threads wait for their programs, so these end first.
            running.stop()
            raise


def _collected(
    submit: Callable[[ProgramInputs], Any],
    jobs: Sequence[ProgramInputs],
    size: int,
    advance: Callable[[int], object],
) -> Iterator[tuple[int, ProgramOutputs]]:
    """Run all shards, try failed ones again, and join the results of each job."""
    shards = [
        (index, part)
        for index, job in enumerate(jobs)
        for part in _shards(job.n_images, size)
    ]
    missing = Counter(index for index, _ in shards)
    found: dict[int, ProgramOutputs] = {}
    tries = dict.fromkeys(range(len(shards)), 1)

    pending: dict[Any, int] = {}
    # Not `concurrent.futures.wait`: a Ctrl-C while it holds the locks of its futures
    # would leave their workers waiting for ever.
    finished: SimpleQueue[Any] = SimpleQueue()

    def start(shard: int) -> None:
        index, part = shards[shard]
        future = submit(jobs[index].part(part))
        pending[future] = shard
        future.add_done_callback(finished.put)

    try:
        for shard in range(len(shards)):
            start(shard)
        while pending:
            future = finished.get()
            shard = pending.pop(future)
            index, part = shards[shard]
            try:
                found[shard] = future.result()
            except Exception as error:
                if tries[shard] == MAX_TRIES:
                    message = (
                        f"pictures {part.start} to {part.stop - 1} failed "
                        f"{MAX_TRIES} times: {error}"
                    )
                    raise SimulationError(message) from error
                tries[shard] += 1
                start(shard)
                continue
            advance(part.stop - part.start)
            missing[index] -= 1
            if not missing[index]:
                own = [n for n, (job, _) in enumerate(shards) if job == index]
                yield index, ProgramOutputs.joined([found.pop(n) for n in own])
    finally:
        for future in pending:
            future.cancel()
