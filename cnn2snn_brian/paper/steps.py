"""
What the paper's experiments share: images, networks, simulators, and kept steps.

An experiment is a number of steps. What a step found is kept in a file, so that a run
that was interrupted goes on with the first step that is missing.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import ms
from filelock import FileLock, Timeout

from cnn2snn_brian import models
from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.conversion import convert
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.errors import InputError, WriteError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.paper.extent import FLOORS, FULL, Extent, setting_named
from cnn2snn_brian.paper.finite_json import finite, restored
from cnn2snn_brian.paper.images import Images
from cnn2snn_brian.program.simulator import Simulator
from cnn2snn_brian.program.workers import Workers

__all__ = ["CNNS", "Reproduction", "versions"]

#: The CNN and its adjusted form, by the names of the report.
CNNS = {"cnn": "cifar10_quick", "adjusted": "cifar10_quick_adjusted"}
#: Where version 0.1.0 kept its steps.
FORMER_STEPS = "reproduction-steps"


def versions() -> dict[str, str]:
    """
    Give the versions of what decides about the numbers.

    Returns
    -------
    dict of str to str
        By name of the package.
    """
    names = ("cnn2snn-brian", "brian2", "numpy", "torch")
    return {name: importlib.metadata.version(name) for name in names}


def _weights_fingerprint() -> str:
    digest = hashlib.sha256()
    for name in CNNS.values():
        for tensor in models.pretrained(name)[0].state_dict().values():
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass
class Reproduction:
    """
    The paper's experiments. Use it as a context manager.

    Parameters
    ----------
    data : path-like
        CIFAR-10: ``train`` and ``test``, each with a folder a class.
    out : path-like
        Where the steps and the report go.
    extent : Extent
        How much is done: `FULL` or `QUICK`.
    seed : int
        Seed of everything random.
    executor : int or concurrent.futures.Executor, optional
        Who runs the images.
    progress : bool
        Whether to show progress.

    Raises
    ------
    InputError
        If the images can't be used, another process works in `out`, or `out` has steps
        of another version, extent or seed, or of other images.
    """

    data: str | Path
    out: Path
    extent: Extent = FULL
    seed: int = 0
    executor: Workers = None
    progress: bool = True
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _simulators: dict[tuple[str, int], Simulator] = field(
        default_factory=dict, repr=False
    )

    def __enter__(self) -> "Reproduction":
        self.out.mkdir(parents=True, exist_ok=True)
        former = self.out / FORMER_STEPS
        if former.exists():
            message = (
                f"{former}: version 0.1.0 kept its steps here, and they are not taken. "
                "Give another folder, or remove this one"
            )
            raise InputError(message)
        lock = FileLock(self.out / "reproduction.lock")
        try:
            self._stack.enter_context(lock.acquire(timeout=0))
        except Timeout as error:
            message = f"{self.out}: another process reproduces into this folder"
            raise InputError(message) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        self._simulators.clear()

    @cached_property
    def images(self) -> Images:
        """Training images and test images."""
        _, card = models.pretrained(CNNS["adjusted"])
        return Images.load(self.data, card.classes, self.extent.n_test, self.seed)

    @property
    def test(self) -> LabelledImages:
        """The test images."""
        return self.images.test

    def training(
        self, n_first: int, n_last: int
    ) -> tuple[LabelledImages, LabelledImages]:
        """
        Draw training images, always the same ones.

        Parameters
        ----------
        n_first, n_last : int
            How many of each class are in the first and in the second part.

        Returns
        -------
        first, last : LabelledImages
            Images to tune with, and images to check the result on.
        """
        n = self.extent.n_tuning + self.extent.n_unseen
        return self.images.drawn(n, n_first, n_last, self.seed)

    @cached_property
    def _calibration(self) -> npt.NDArray[np.uint8]:
        """Training images that data-based thresholds come from."""
        return self.training(min(20, self.extent.n_tuning), 0)[0].images

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What the steps depend on besides their own names."""
        return {
            **versions(),
            "seed": self.seed,
            "extent": asdict(self.extent),
            "images": self.images.fingerprint(),
            "weights": _weights_fingerprint(),
        }

    @cached_property
    def _steps(self) -> Checkpoint:
        path = self.out / "reproduction-steps.jsonl"
        settings = self._settings
        try:
            return Checkpoint(path, "reproduction", settings)
        except WriteError:
            raise
        except InputError as error:
            message = (
                f"{error}. A report has steps of one version of each library, one "
                "extent, one seed and the same images: give another folder for it, or "
                f"remove {path} to do the steps again"
            )
            raise InputError(message) from error

    def unfinished(self, name: str) -> Path:
        """
        Name a file for a step that is not yet done.

        Parameters
        ----------
        name : str
            Name of the step.

        Returns
        -------
        Path
            The file, another one for other settings.
        """
        digest = hashlib.sha256(repr(self._settings).encode()).hexdigest()[:16]
        return self.out / f"reproduction-{name}-{digest}.unfinished"

    def step(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """
        Do a step, or read what it found before.

        Parameters
        ----------
        name : str
            Name of the step.
        compute : callable
            Does the step; returns what `finite_json.finite` takes.

        Returns
        -------
        dict
            What the step found.
        """
        with self._steps:
            row = self._steps.once(name, lambda: finite(compute()))
        found: dict[str, Any] = restored(row)
        self.unfinished(name).unlink(missing_ok=True)
        return found

    def network(self, preset: str) -> SpikingNetwork:
        """
        Convert the adjusted CNN, with thresholds from its activations.

        Parameters
        ----------
        preset : str
            A key of `PRESETS` or `VARIANTS`.

        Returns
        -------
        SpikingNetwork
            The network.
        """
        cnn, card = models.pretrained(CNNS["adjusted"])
        snn = convert(
            cnn,
            card.input_shape,
            calibration=self._calibration,
            preset=setting_named(preset),
            classes=card.classes,
        )
        if preset in FLOORS:
            floors = {n: -FLOORS[preset] * x for n, x in snn.thresholds.items()}
            snn = replace(snn, parameters=replace(snn.parameters, v_min=floors))
        return snn

    def simulator(self, preset: str, n_steps: int) -> Simulator:
        """
        Compile the network of a preset, once.

        Parameters
        ----------
        preset : str
            A key of `PRESETS` or `VARIANTS`.
        n_steps : int
            Steps of 1 ms of an image.

        Returns
        -------
        Simulator
            The simulator.
        """
        key = preset, n_steps
        if key not in self._simulators:
            simulator = self.network(preset).compile(n_steps * ms)
            self._simulators[key] = self._stack.enter_context(simulator)
        return self._simulators[key]
