"""
Spread images over workers: this machine's cores, or any executor.

Images are divided into shards. A shard is one run of the compiled program. What comes
out for an image does not depend on its shard, so neither the number of workers nor the
size of the shards changes a result.
"""

import hashlib
import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError, SimulationError
from cnn2snn_brian.simulator.compiler import (
    PROGRAM,
    PROJECT,
    UNFINISHED,
    build_program,
    check_cache,
    linked,
    locked,
    programs,
    working_folder,
)
from cnn2snn_brian.simulator.programs import Call, Programs
from cnn2snn_brian.simulator.protocol import ProgramInputs, ProgramOutputs

#: Where a worker keeps projects: its machine and its cache directory.
Place = tuple[str, str]


class Project(NamedTuple):
    """A project's name and, if they are sent along, its files by their paths in it."""

    name: str
    files: dict[str, bytes] | None


def _packed(project: Path) -> Project:
    """Read a project's files, and hash them: the hash is its name on workers."""
    files, digest = {}, hashlib.sha256()
    for path in sorted(project.rglob("*")):
        if path.is_file() and path != project / PROGRAM:
            name, content = str(path.relative_to(project)), path.read_bytes()
            files[name] = content
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Project(digest.hexdigest()[:32], files)


def run_shard(
    project: Project, inputs: ProgramInputs
) -> tuple[Place, ProgramOutputs | None]:
    """Run a shard of a project on a worker, which may be on another machine."""
    name, files = project
    cache = check_cache()
    place = socket.gethostname(), str(cache)
    kept = programs(cache) / f"{name}{PROJECT}"
    # In a separate folder, which trimming the cache leaves alone.
    with working_folder(cache, name) as folder:
        with locked(cache, name):
            if files is not None and not kept.is_dir():
                unfinished = folder / UNFINISHED  # so that it appears whole
                (unfinished / "results").mkdir(parents=True)
                for file, content in files.items():
                    (unfinished / file).parent.mkdir(parents=True, exist_ok=True)
                    (unfinished / file).write_bytes(content)
                unfinished.rename(kept)
            if not kept.is_dir():
                return place, None
            os.utime(kept)  # it was of use: others are removed before it
            shutil.copytree(kept, folder, copy_function=linked, dirs_exist_ok=True)
        build_program(folder, cache)
        with Programs(folder) as own:
            return place, Call(own).run(inputs)


#: What runs the shards: all cores (None), a number of programs at a time, an executor.
Workers = int | Executor | None

#: Most images of a shard: it bounds memory, and what a retry costs.
MAX_SHARD = 100
#: Shards for each local worker that works for long: the last ones fill up the time of a
#: slow one.
SHARDS_PER_WORKER = 2
LONG_WORK = 100_000_000
#: Least work of a shard, in neurons times steps: some 10 ms. A shard that does nothing
#: takes 1 ms, and of several that are short one waits for a core.
MIN_WORK = 7_000_000
#: Images of a shard where the number of workers is not known.
REMOTE_SHARD = 25
#: A shard that fails is tried again, once.
MAX_TRIES = 2


def check_workers(workers: Workers, shard_size: int | None) -> Workers:
    """Check what runs the shards, and how large they are."""
    if shard_size is not None:
        check_whole("shard_size", shard_size, 1)
    if workers is None or hasattr(workers, "submit"):
        return workers
    try:
        return check_whole("executor", workers, 1)
    except InputError as error:
        raise InputError(f"{error}, None, or what has a method submit") from error


def run_shards(
    programs: Programs,
    jobs: Sequence[ProgramInputs],
    work: int,
    workers: Any,
    shard_size: int | None,
    advance: Callable[[int], object],
) -> Iterator[tuple[int, ProgramOutputs]]:
    """Run the images of several jobs, each of so much work, in shards, all at once."""
    if hasattr(workers, "submit"):  # an executor, from any library
        remote = _Remote(workers, _packed(programs.project))
        size = shard_size or REMOTE_SHARD
        yield from _collected(jobs, size, remote.submit, remote.outputs, advance)
        return
    if workers is None:  # the cores that this process may use
        has_affinity = hasattr(os, "sched_getaffinity")
        workers = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    n_images = sum(job.n_images for job in jobs)
    are_many = workers > 1 and n_images * work > workers * LONG_WORK
    n_shards = workers * (SHARDS_PER_WORKER if are_many else 1)
    n_shards = max(1, min(n_shards, n_images * work // MIN_WORK))
    size = shard_size or min(MAX_SHARD, -(-n_images // n_shards))
    call = Call(programs, advance)
    with ThreadPoolExecutor(workers) if n_images > size else _Here() as threads:
        try:
            yield from _collected(
                jobs, size, lambda part: threads.submit(call.run, part), Future.result
            )
        except BaseException:
            # Also on Ctrl-C: threads wait for their programs, so these end first.
            call.stop()
            raise


class _Here(Executor):
    """Runs what it gets at once: a single shard needs no thread."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


class _Remote:
    """
    An executor, from any library.

    Shards name their project. Where a worker does not have it, the shard comes back at
    once, and one shard for each such place takes the project's files along.
    """

    def __init__(self, executor: Any, project: Project) -> None:
        self.executor, self.project = executor, project
        #: Whether a place has the project.
        self.has: dict[Place, bool] = {}
        #: Shards under way that take the files along.
        self.sent: set[Any] = set()

    def submit(self, part: ProgramInputs) -> Any:
        takes_files = len(self.sent) < list(self.has.values()).count(False)
        # Until somebody has the project, shards without files only come back.
        if not takes_files and self.has and not any(self.has.values()):
            return None
        project = self.project if takes_files else self.project._replace(files=None)
        future = self.executor.submit(run_shard, project, part)
        if takes_files:
            self.sent.add(future)
        return future

    def outputs(self, future: Any) -> ProgramOutputs | None:
        self.sent.discard(future)
        place, outputs = future.result()
        self.has[place] = outputs is not None
        return outputs  # type: ignore[no-any-return]


def _collected(
    jobs: Sequence[ProgramInputs],
    size: int,
    submit: Callable[[ProgramInputs], Any],
    outputs_of: Callable[[Any], ProgramOutputs | None],
    advance: Callable[[int], object] = lambda done: None,
) -> Iterator[tuple[int, ProgramOutputs]]:
    """
    Run all shards, try failed ones again, and join the results of each job.

    `submit` gives None for a shard that has to wait for another one, `outputs_of` for
    one that has to be started again.
    """
    waiting = []
    for index, job in enumerate(jobs):
        # Images that go on with what was learned before are one run, in order.
        n, own = job.n_images, job.n_images if job.is_one_run else size
        waiting += [(index, k, min(k + own, n)) for k in range(0, n, own)]
    missing = Counter(index for index, *_ in waiting)
    found: dict[int, ProgramOutputs] = {}
    failures: Counter[tuple[int, int, int]] = Counter()
    pending: dict[Any, tuple[int, int, int]] = {}
    # Not `concurrent.futures.wait`: a Ctrl-C while it holds the locks of its futures
    # would leave their workers waiting for ever.
    finished: SimpleQueue[Any] = SimpleQueue()
    try:
        while waiting or pending:
            started, waiting = waiting, []
            for shard in started:
                index, start, stop = shard
                future = submit(jobs[index].part(slice(start, stop)))
                if future is None:
                    waiting.append(shard)
                    continue
                pending[future] = shard
                future.add_done_callback(finished.put)
            future = finished.get()
            shard = index, start, stop = pending.pop(future)
            try:
                outputs = outputs_of(future)
            except Exception as error:
                failures[shard] += 1
                if failures[shard] == MAX_TRIES:
                    raise SimulationError(
                        f"images {start} to {stop - 1} failed {MAX_TRIES} times: "
                        f"{error}"
                    ) from error
                outputs = None
            if outputs is None:
                waiting.append(shard)
                continue
            # At once, while others run.
            if index not in found:
                found[index] = outputs.whole(jobs[index].n_images)
            found[index].put(start, outputs)
            advance(stop - start)
            missing[index] -= 1
            if not missing[index]:
                yield index, found.pop(index)
    finally:
        for future in pending:
            future.cancel()
