"""
What the paper's experiments share: images, networks, simulators, and kept steps.

An experiment is a number of steps. What a step found is kept in a file, so that a run
that was interrupted goes on with the first step that is missing.
"""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from brian2 import ms
from filelock import FileLock, Timeout

from cnn2snn_brian import models
from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.conversion import convert
from cnn2snn_brian.data import LabelledImages, load_data
from cnn2snn_brian.errors import InputError, WriteError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.settings import PRESETS, Preset
from cnn2snn_brian.simulator import Simulator, Workers

_TEXTS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def finite(value: Any) -> Any:
    """Write infinities as text, which JSON has no numbers for."""
    return json.loads(json.dumps(value), parse_constant=lambda name: str(float(name)))


def restored(value: Any) -> Any:
    """Undo `finite`."""
    if isinstance(value, dict):
        return {key: restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    return _TEXTS.get(value, value) if isinstance(value, str) else value


def to_json(value: Any) -> str:
    """Write JSON."""
    return json.dumps(finite(value), indent=1, allow_nan=False) + "\n"


def _variant(
    description: str, tune: tuple[str, ...] = ("thresholds",), **arguments: Any
) -> Preset:
    paper = PRESETS["paper"]
    arguments = {**paper.arguments, **arguments}
    return replace(paper, description=description, arguments=arguments, tune=tune)


#: Images of one step: what an interruption costs at most.
CHUNK = 500
#: How much larger the thresholds of the convolutions are where an image takes twice as
#: long: where a search begins, found by searches at 100 and 400 steps.
LONGER_FACTOR = 1.3
#: The paper tests 100 random images of each class.
PER_CLASS = 100
#: Training images of each class that the preset "few-steps" is calibrated with.
N_CALIBRATION = 30
#: The paper's setting in other forms.
VARIANTS = {
    "paper-pooled": _variant("pooling in synapses", pooling="synapses"),
    "paper-channels": _variant("a threshold for each channel", per_channel=True),
    "paper-leaks": _variant(
        "a leak for each layer, searched with the thresholds", ("thresholds", "leak")
    ),
    "paper-starts": _variant(
        "a starting potential for each layer, searched with the thresholds",
        ("thresholds", "v_init"),
    ),
    "paper-floors": _variant("floors at -0.2 data-based thresholds"),
}
#: How far below 0 a variant's floors are, in data-based thresholds.
FLOORS = {"paper-floors": 0.2}
#: A search of a variant takes this share of the images and the candidates.
VARIANTS_EFFORT = 0.5
#: These have the paper's neurons, so their search begins where the paper's ended.
CONTINUED = ("paper-leaks", "paper-starts", "paper-floors")
#: Of long images, thresholds are those of fewer steps, and of the convolutions' times
#: the best of these factors for each doubling.
LONG_FACTORS = (0.9, 1.0, 1.1, 1.2)
#: Layers whose thresholds Fig. 3 sweeps, and by which factors of the chosen one.
SWEPT = ("conv1", "conv2", "conv3")
SWEEP_FACTORS = np.geomspace(1 / 16, 16, 17)
#: Settings of the CNN that is not adjusted, but for its averages: it has ON and OFF
#: cells.
AS_IT_IS = {"as-it-is": PRESETS["few-steps"]}
#: All settings of the report.
SETTINGS = {**PRESETS, **VARIANTS, **AS_IT_IS}


@dataclass(frozen=True)
class Extent:
    """
    How much is done.

    Attributes
    ----------
    durations : tuple of int
        Numbers of steps of 1 ms that the paper's setting is tuned and tested with.
    few_steps : tuple of int
        Those of the preset "few-steps", which is calibrated for each.
    variants : tuple of int
        Those of the paper's setting in other forms, see `VARIANTS`.
    n_test : int or None
        Test images of each class; None for all.
    n_tuning, n_unseen : int
        Training images of each class that a search tunes with, and that its result
        is checked on.
    budgets : dict of int to int
        Candidates of a search by number of steps, for those from that number on.
    n_listing, listing_budget : int
        Training images of each class, and candidates, of the paper's own methods.
    n_sweep : int
        Training images of each class of Fig. 3.
    long : int
        From this number of steps on, thresholds are not searched but scaled: a search
        would take as long as all others together.
    """

    durations: tuple[int, ...]
    few_steps: tuple[int, ...]
    variants: tuple[int, ...]
    n_test: int | None
    n_tuning: int
    n_unseen: int
    budgets: dict[int, int]
    n_listing: int
    listing_budget: int
    n_sweep: int
    long: int = 800

    def budget(self, n_steps: int) -> int:
        """Give the number of candidates of a search."""
        return self.budgets[max(least for least in self.budgets if least <= n_steps)]


FULL = Extent(
    durations=(100, 200, 400, 800),
    few_steps=(4, 8, 12),
    variants=(100, 200),
    n_test=None,
    n_tuning=40,
    n_unseen=40,
    budgets={0: 200, 400: 42},
    n_listing=4,
    listing_budget=100,
    n_sweep=20,
)
QUICK = Extent(
    durations=(50, 100),
    few_steps=(4, 8, 12),
    variants=(50,),
    n_test=10,
    n_tuning=5,
    n_unseen=5,
    budgets={0: 40},
    n_listing=1,
    listing_budget=20,
    n_sweep=2,
)


#: Other names of CIFAR-10's classes, as folders have them.
ALIASES = {"plane": "airplane", "aeroplane": "airplane", "car": "automobile"}
#: The CNN and its adjusted form, by the names of the report.
CNNS = {"cnn": "cifar10_quick", "adjusted": "cifar10_quick_adjusted"}
#: The CNN with averages, and with LeakyReLU and biases.
AVERAGE = "cifar10_quick_average"
#: Where version 0.1.0 kept its steps.
FORMER_STEPS = "reproduction-steps"


def versions() -> dict[str, str]:
    """Give the versions of what decides about the numbers."""
    names = ("cnn2snn-brian", "brian2", "numpy", "torch")
    return {name: importlib.metadata.version(name) for name in names}


def _fingerprint(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
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
            raise InputError(
                f"{former}: version 0.1.0 kept its steps here, and they are not taken. "
                "Give another folder, or remove this one"
            )
        lock = FileLock(self.out / "reproduction.lock")
        try:
            self._stack.enter_context(lock.acquire(timeout=0))
        except Timeout as error:
            raise InputError(
                f"{self.out}: another process reproduces into this folder"
            ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        self._simulators.clear()

    @cached_property
    def images(self) -> tuple[LabelledImages, LabelledImages]:
        """All training images, and the test images, with the CNN's classes."""
        training, test = map(self._with_classes, load_data(self.data, (3, 32, 32)))
        if self.extent.n_test is not None:
            test = test.per_class(self.extent.n_test, self.seed)
        return training, test

    def _with_classes(self, images: LabelledImages) -> LabelledImages:
        """Give the classes the numbers of the CNN's outputs of the same names."""
        _, card = models.pretrained(CNNS["adjusted"])
        classes = card.classes
        lower = [name.lower() for name in images.classes]
        names = tuple(ALIASES.get(name, name) for name in lower)
        if sorted(names) != sorted(classes):
            raise InputError(
                f"{self.data}: the classes are {', '.join(images.classes)}, but the "
                f"CNN has {', '.join(classes)}. Rename the folders of the classes"
            )
        return replace(images, classes=names).with_classes(classes)

    @property
    def test(self) -> LabelledImages:
        """The test images."""
        return self.images[1]

    def training(
        self, n_first: int, n_last: int
    ) -> tuple[LabelledImages, LabelledImages]:
        """Draw training images, always the same ones: the first and last of a class."""
        n = self.extent.n_tuning + self.extent.n_unseen
        drawn = self.images[0].per_class(n, self.seed)
        labels = pd.Series(drawn.labels)
        rank = labels.groupby(labels).cumcount().to_numpy()
        return drawn[rank < n_first], drawn[rank >= n - n_last]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What the steps depend on besides their own names."""
        arrays = [a for part in self.images for a in (part.images, part.labels)]
        names = (*CNNS.values(), AVERAGE)
        states = [models.pretrained(name)[0].state_dict() for name in names]
        weights = [x.numpy() for state in states for x in state.values()]
        return {
            **versions(),
            "seed": self.seed,
            "extent": asdict(self.extent),
            "images": _fingerprint(array.tobytes() for array in arrays),
            "weights": _fingerprint(array.tobytes() for array in weights),
        }

    @cached_property
    def _steps(self) -> Checkpoint:
        path = self.out / "reproduction-steps.jsonl"
        try:
            return Checkpoint(path, "reproduction", self._settings)
        except WriteError:
            raise
        except InputError as error:
            raise InputError(
                f"{error}. A report has steps of one version of each library, one "
                "extent, one seed and the same images: give another folder for it, or "
                f"remove {path} to do the steps again"
            ) from error

    @property
    def options(self) -> dict[str, Any]:
        """What every run of images takes."""
        return {"seed": self.seed, "executor": self.executor, "progress": self.progress}

    def unfinished(self, name: str) -> Path:
        """Name a file for a step that is not yet done."""
        digest = _fingerprint([repr(self._settings).encode()])
        return self.out / f"reproduction-{name}-{digest}.unfinished"

    def step(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do a step, or read what it found before."""
        with self._steps:
            row = self._steps.once(name, lambda: finite(compute()))
        found: dict[str, Any] = restored(row)
        self.unfinished(name).unlink(missing_ok=True)
        return found

    def network(self, preset: str) -> SpikingNetwork:
        """Convert the CNN of a setting, with thresholds from its activations."""
        name = AVERAGE if preset in AS_IT_IS else CNNS["adjusted"]
        cnn, card = models.pretrained(name)
        snn = convert(
            cnn,
            card.input_shape,
            # Training images that data-based thresholds come from.
            calibration=self.training(min(20, self.extent.n_tuning), 0)[0].images,
            preset=SETTINGS[preset],
            classes=card.classes,
        )
        if preset in FLOORS:
            floors = {n: -FLOORS[preset] * x for n, x in snn.thresholds.items()}
            snn = replace(snn, parameters=replace(snn.parameters, v_min=floors))
        return snn

    def simulator(self, preset: str, n_steps: int) -> Simulator:
        """Compile the network of a preset, once."""
        key = preset, n_steps
        if key not in self._simulators:
            simulator = self.network(preset).compile(n_steps * ms)
            self._simulators[key] = self._stack.enter_context(simulator)
        return self._simulators[key]
