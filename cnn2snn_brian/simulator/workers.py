"""
Spread images over workers: this machine's cores, or any executor.

Images are divided into shards. A shard is one run of the compiled program. What comes
out for an image does not depend on its shard, so neither the number of workers nor the
size of the shards changes a result.
"""

import hashlib
import io
import os
import shutil
import socket
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError, SimulationError
from cnn2snn_brian.simulator.compiler import (
    PROGRAM,
    PROJECT,
    UNFINISHED,
    build_program,
    check_cache,
    locked,
    programs,
    working_folder,
)
from cnn2snn_brian.simulator.protocol import ProgramInputs, ProgramOutputs, Running, run

#: Where a worker keeps projects: its machine and its cache directory.
Place = tuple[str, str]


@dataclass(frozen=True)
class Project:
    """
    A project's files as bytes, or its name alone.

    Attributes
    ----------
    name : str
        Hash of the files.
    archive : bytes, optional
        A tar archive of the generated sources and the weights.
    """

    name: str
    archive: bytes | None = None

    @classmethod
    def pack(cls, directory: Path) -> "Project":
        """Pack a project."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path in sorted(directory.rglob("*")):
                if path.is_file() and path != directory / PROGRAM:
                    entry = tarfile.TarInfo(str(path.relative_to(directory)))
                    content = path.read_bytes()
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        archive = buffer.getvalue()
        return cls(hashlib.sha256(archive).hexdigest()[:32], archive)

    @property
    def named(self) -> "Project":
        """The project without its files."""
        return replace(self, archive=None)

    @contextmanager
    def unpacked(self, cache: Path) -> Iterator[Path | None]:
        """Give a folder with the project's files, which nobody else uses."""
        kept = programs(cache) / f"{self.name}{PROJECT}"
        with working_folder(cache, self.name) as folder:
            with locked(cache, self.name):
                if not kept.is_dir() and self.archive is not None:
                    self._keep(kept)
                found = kept.is_dir()
                if found:
                    os.utime(kept)  # it was of use: others are removed before it
                    shutil.copytree(
                        kept, folder, copy_function=_linked, dirs_exist_ok=True
                    )
            yield folder if found else None

    def _keep(self, kept: Path) -> None:
        unfinished = kept.with_suffix(UNFINISHED)
        shutil.rmtree(unfinished, ignore_errors=True)  # of a worker that was killed
        try:
            with tarfile.open(fileobj=io.BytesIO(self.archive or b"")) as tar:
                tar.extractall(unfinished, filter="data")
            (unfinished / "results").mkdir(exist_ok=True)
            unfinished.rename(kept)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def _linked(source: str, target: str) -> None:
    """Make a hard link, or a copy on a file system that has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def run_shard(
    project: Project, inputs: ProgramInputs
) -> tuple[Place, ProgramOutputs | None]:
    """Run a shard on a worker, which may be on another machine."""
    cache = check_cache()
    place = socket.gethostname(), str(cache)
    with project.unpacked(cache) as folder:
        if folder is None:
            return place, None
        build_program(folder, cache)
        return place, run(folder / PROGRAM, folder, inputs)


#: Who runs the shards: None for all cores, a number of programs at a time, an executor.
Workers = int | Executor | None

#: A shard has at most so many images: it bounds memory, and what a retry costs.
MAX_SHARD = 100
#: Shards for each local worker: the last ones fill up the time of a slow one.
SHARDS_PER_WORKER = 2
#: Images of a shard where the number of workers is not known.
REMOTE_SHARD = 25
#: A shard that fails is tried again, once.
MAX_TRIES = 2


def n_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shards(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def check_workers(workers: Workers, shard_size: int | None) -> Workers:
    """Check who runs the shards, and how large they are."""
    if shard_size is not None:
        check_whole("shard_size", shard_size, 1)
    if workers is None or hasattr(workers, "submit"):
        return workers
    is_whole = isinstance(workers, int | np.integer) and not isinstance(workers, bool)
    if not is_whole or workers < 1:  # type: ignore[operator]
        raise InputError(
            f"executor={workers!r}: expected None, a number of at least 1, or an "
            "executor with a method submit"
        )
    return int(workers)  # type: ignore[arg-type]


def run_shards(
    compiled: Path,
    directory: Path,
    jobs: Sequence[ProgramInputs],
    workers: Workers,
    shard_size: int | None,
    advance: Callable[[int], object],
) -> Iterator[tuple[int, ProgramOutputs]]:
    """Run the images of several jobs in shards, all shards at once."""
    if hasattr(workers, "submit"):  # an executor, of whichever library
        remote = _Remote(workers, Project.pack(directory))
        yield from _collected(remote, jobs, shard_size or REMOTE_SHARD, advance)
        return
    n_workers = n_cores() if workers is None else workers
    assert isinstance(n_workers, int)
    n_shards = n_workers * SHARDS_PER_WORKER if n_workers > 1 else 1
    n_images = sum(job.n_images for job in jobs)
    size = shard_size or min(MAX_SHARD, max(1, -(-n_images // n_shards)))
    with ThreadPoolExecutor(n_workers) as threads:
        local = _Local(threads, compiled, directory, advance)
        try:
            yield from _collected(local, jobs, size, lambda done: None)
        except BaseException:
            # Also on Ctrl-C: threads wait for their programs, so these end first.
            local.running.stop()
            raise


class _Crew(Protocol):
    """Who runs shards."""

    def submit(self, part: ProgramInputs) -> Any:
        """Start a shard; None if that has to wait for another one."""

    def outputs(self, future: Any) -> ProgramOutputs | None:
        """Give a shard's results; None if it has to be started again. May raise."""


class _Local:
    """Threads of this process, each of which waits for one program."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        compiled: Path,
        directory: Path,
        advance: Callable[[int], object],
    ) -> None:
        self.threads, self.advance = threads, advance
        self.compiled, self.directory = compiled, directory
        self.running = Running()

    def submit(self, part: ProgramInputs) -> "Future[ProgramOutputs]":
        return self.threads.submit(
            run, self.compiled, self.directory, part, self.advance, self.running
        )

    def outputs(self, future: "Future[ProgramOutputs]") -> ProgramOutputs:
        return future.result()


class _Remote:
    """
    An executor, of whichever library.

    Shards name their project. Where a worker does not have it, the shard comes back at
    once, and one shard for each such place takes the project's files along.
    """

    def __init__(self, executor: Any, project: Project) -> None:
        self.executor, self.project = executor, project
        self.known: set[Place] = set()
        self.lacking: set[Place] = set()
        #: Shards under way that take the files along.
        self.sent: set[Any] = set()

    def submit(self, part: ProgramInputs) -> Any:
        takes_files = len(self.sent) < len(self.lacking)
        # Until somebody has the project, shards without files only come back.
        if not takes_files and self.lacking and not self.known:
            return None
        project = self.project if takes_files else self.project.named
        future = self.executor.submit(run_shard, project, part)
        if takes_files:
            self.sent.add(future)
        return future

    def outputs(self, future: Any) -> ProgramOutputs | None:
        self.sent.discard(future)
        place, outputs = future.result()
        if outputs is None:
            self.known.discard(place)
            self.lacking.add(place)
        else:
            self.lacking.discard(place)
            self.known.add(place)
        return outputs  # type: ignore[no-any-return]


def _collected(
    crew: _Crew,
    jobs: Sequence[ProgramInputs],
    size: int,
    advance: Callable[[int], object],
) -> Iterator[tuple[int, ProgramOutputs]]:
    """Run all shards, try failed ones again, and join the results of each job."""
    shards = [
        (index, part)
        for index, job in enumerate(jobs)
        # Images that go on with what was learned before are one run, in order.
        for part in _shards(job.n_images, job.n_images if job.is_one_run else size)
    ]
    missing = Counter(index for index, _ in shards)
    found: dict[int, ProgramOutputs] = {}
    tries = dict.fromkeys(range(len(shards)), 1)
    waiting = list(range(len(shards)))
    pending: dict[Any, int] = {}
    # Not `concurrent.futures.wait`: a Ctrl-C while it holds the locks of its futures
    # would leave their workers waiting for ever.
    finished: SimpleQueue[Any] = SimpleQueue()
    try:
        while waiting or pending:
            waiting = _started(crew, waiting, shards, jobs, pending, finished)
            future = finished.get()
            shard = pending.pop(future)
            index, part = shards[shard]
            try:
                outputs = crew.outputs(future)
            except Exception as error:
                if tries[shard] == MAX_TRIES:
                    raise SimulationError(
                        f"images {part.start} to {part.stop - 1} failed "
                        f"{MAX_TRIES} times: {error}"
                    ) from error
                tries[shard] += 1
                waiting.append(shard)
                continue
            if outputs is None:
                waiting.append(shard)
                continue
            found[shard] = outputs
            advance(part.stop - part.start)
            missing[index] -= 1
            if not missing[index]:
                own = [n for n, (job, _) in enumerate(shards) if job == index]
                yield index, ProgramOutputs.joined([found.pop(n) for n in own])
    finally:
        for future in pending:
            future.cancel()


def _started(
    crew: _Crew,
    waiting: Sequence[int],
    shards: Sequence[tuple[int, slice]],
    jobs: Sequence[ProgramInputs],
    pending: dict[Any, int],
    finished: "SimpleQueue[Any]",
) -> list[int]:
    """Start the shards that wait, and list those that have to go on waiting."""
    left = []
    for shard in waiting:
        index, part = shards[shard]
        future = crew.submit(jobs[index].part(part))
        if future is None:
            left.append(shard)
            continue
        pending[future] = shard
        future.add_done_callback(finished.put)
    return left
