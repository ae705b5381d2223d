"""
A program's project, sent to workers on other machines.

A worker compiles it for its own processor and keeps both in its own cache. Each shard
runs from a folder of its own, so that trimming the cache takes nothing away from it.
"""

import hashlib
import io
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cnn2snn_brian.program.cache import (
    PROJECT,
    UNFINISHED,
    check_cache,
    locked,
    programs,
    working_folder,
)
from cnn2snn_brian.program.compiler import PROGRAM, build_program
from cnn2snn_brian.program.process import run
from cnn2snn_brian.program.protocol import ProgramInputs, ProgramOutputs

__all__ = ["Place", "Project", "run_shard"]

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
        """
        Give a folder with the project's files, which nobody else uses.

        Parameters
        ----------
        cache : Path
            The worker's cache directory. The project is kept there for other shards.

        Yields
        ------
        Path or None
            The folder, removed in the end; None if neither this nor the cache has the
            files.
        """
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
    """
    Run a shard on a worker, which may be on another machine.

    The worker compiles the project itself, for its own processor, once.

    Parameters
    ----------
    project : Project
        The network, or its name.
    inputs : ProgramInputs
        The images and parameters.

    Returns
    -------
    place : tuple of str
        Where this worker keeps projects.
    outputs : ProgramOutputs or None
        The results; None if only the name was given and the worker does not have the
        files. Send the shard again with them.

    Raises
    ------
    BuildError
        If the worker can't compile.
    SimulationError
        If the program fails.
    """
    cache = check_cache()
    place = socket.gethostname(), str(cache)
    with project.unpacked(cache) as folder:
        if folder is None:
            return place, None
        build_program(folder, cache)
        return place, run(folder / PROGRAM, folder, inputs)
