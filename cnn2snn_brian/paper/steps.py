"""
The paper's experiments, on CIFAR-10, with the weights that ship with the package.

Every step keeps what it found in a file of its own. A run that was interrupted goes on
with the first step that is missing, and `report` writes what the steps found.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import ms
from filelock import FileLock, Timeout

from cnn2snn_brian import models
from cnn2snn_brian.conversion import convert
from cnn2snn_brian.data import LabelledImages, load_data
from cnn2snn_brian.description.presets import find_preset
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.program.simulator import Simulator
from cnn2snn_brian.program.workers import Workers
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.results.result import SimulationResult
from cnn2snn_brian.train import classify
from cnn2snn_brian.tuning.objectives import OBJECTIVES, Target
from cnn2snn_brian.tuning.tune import tune_thresholds

__all__ = ["FULL", "QUICK", "Extent", "Reproduction"]

#: Of the files of the steps: those of another version are done again.
STEPS_VERSION = 1

#: Pictures of one step: what an interruption costs at most.
CHUNK = 500
#: How much larger the thresholds of the convolutions are where a picture takes twice as
#: long: where a search begins, found by searches at 100 and 400 steps.
LONGER_FACTOR = 1.3
#: The paper tests 100 random pictures of each class.
PER_CLASS = 100
#: A search of the preset "few-steps" is quick: it takes so many times the pictures and
#: the candidates.
FEW_STEPS_EFFORT = 1.5
#: From this number of steps on, a search would take as long as all others together.
#: Thresholds are those of fewer steps, and of the convolutions' times the best of these
#: factors for each doubling.
LONG = 800
LONG_FACTORS = (0.9, 1.0, 1.1, 1.2)
#: Layers whose thresholds Fig. 3 sweeps, and by which factors of the chosen one.
SWEPT = ("conv1", "conv2", "conv3")
SWEEP_FACTORS = np.geomspace(1 / 16, 16, 17)


@dataclass(frozen=True)
class Extent:
    """
    How much is done.

    Attributes
    ----------
    durations : tuple of int
        Numbers of steps of 1 ms that the paper's setting is tuned and tested with.
    few_steps : tuple of int
        Those of the preset "few-steps".
    n_test : int or None
        Test pictures of each class; None for all.
    n_tuning, n_unseen : int
        Training pictures of each class that a search tunes with, and that its result
        is checked on.
    budgets : dict of int to int
        Candidates of a search by number of steps, for those from that number on.
    n_listing, listing_budget : int
        Training pictures of each class, and candidates, of the paper's own methods.
    n_sweep : int
        Training pictures of each class of Fig. 3.
    """

    durations: tuple[int, ...]
    few_steps: tuple[int, ...]
    n_test: int | None
    n_tuning: int
    n_unseen: int
    budgets: dict[int, int]
    n_listing: int
    listing_budget: int
    n_sweep: int


FULL = Extent(
    durations=(100, 200, 400, 800),
    few_steps=(16, 24),
    n_test=None,
    n_tuning=40,
    n_unseen=40,
    budgets={0: 110, 400: 42},
    n_listing=4,
    listing_budget=100,
    n_sweep=20,
)
QUICK = Extent(
    durations=(50, 100),
    few_steps=(16, 24),
    n_test=10,
    n_tuning=5,
    n_unseen=5,
    budgets={0: 40},
    n_listing=1,
    listing_budget=20,
    n_sweep=2,
)


@dataclass
class Reproduction:
    """
    The paper's experiments. Use it as a context manager.

    Parameters
    ----------
    data : path-like
        CIFAR-10: ``train`` and ``test``, each with a folder a class.
    out : path-like
        Where the steps' files and the report go.
    extent : Extent
        How much is done: `FULL` or `QUICK`.
    seed : int
        Seed of everything random.
    executor : int or concurrent.futures.Executor, optional
        Who runs the pictures.
    progress : bool
        Whether to show progress.

    Raises
    ------
    InputError
        If the pictures can't be used, or another process works in `out`.
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
        self.steps.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.steps / "lock")
        try:
            self._stack.enter_context(lock.acquire(timeout=0))
        except Timeout as error:
            message = f"{self.out}: another process reproduces into this folder"
            raise InputError(message) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        self._simulators.clear()

    @property
    def steps(self) -> Path:
        """Folder of the steps' files."""
        return self.out / "reproduction-steps"

    # -- what all steps share ---------------------------------------------------------

    @cached_property
    def _pictures(self) -> tuple[LabelledImages, LabelledImages]:
        training, test = load_data(self.data, (3, 32, 32))
        if self.extent.n_test is not None:
            test = test.per_class(self.extent.n_test, self.seed)
        return training, test

    @property
    def test(self) -> LabelledImages:
        """The test pictures."""
        return self._pictures[1]

    def _training(
        self, n_first: int, n_last: int, effort: float = 1
    ) -> tuple[LabelledImages, LabelledImages]:
        """Draw training pictures; the first and the last ones of each class."""
        n = round(effort * self.extent.n_tuning) + self.extent.n_unseen
        drawn = self._pictures[0].per_class(n, self.seed)
        rank = np.zeros(len(drawn), int)
        for label in range(len(drawn.classes)):
            members = drawn.labels == label
            rank[members] = np.arange(members.sum())
        return drawn[rank < n_first], drawn[rank >= n - n_last]

    @cached_property
    def _calibration(self) -> npt.NDArray[np.uint8]:
        """Training pictures that data-based thresholds come from."""
        return self._training(min(20, self.extent.n_tuning), 0)[0].images

    @cached_property
    def _fingerprint(self) -> str:
        """What the steps depend on besides their own names."""
        training, test = self._pictures
        digest = hashlib.sha256()
        settings = [STEPS_VERSION, self.seed, asdict(self.extent)]
        digest.update(json.dumps(settings).encode())
        for part in (training, test):
            digest.update(part.images.tobytes())
            digest.update(part.labels.tobytes())
        for name in ("cifar10_quick", "cifar10_quick_adjusted"):
            for tensor in models.pretrained(name)[0].state_dict().values():
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def step(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """
        Do a step, or read what it found before.

        Parameters
        ----------
        name : str
            Name of its file.
        compute : callable
            Does the step; returns what JSON can hold.

        Returns
        -------
        dict
            What the step found.
        """
        path = self.steps / f"{name}.json"
        if path.exists():
            try:
                kept = json.loads(path.read_text())
                if kept["fingerprint"] == self._fingerprint:
                    found: dict[str, Any] = kept["found"]
                    return found
            except (ValueError, KeyError, TypeError):
                pass  # not one of ours, or damaged: done again
        found = json.loads(json.dumps(compute()))
        with written_whole(path) as unfinished:
            unfinished.write_text(
                json.dumps({"fingerprint": self._fingerprint, "found": found})
            )
        return found

    def network(self, preset: str) -> SpikingNetwork:
        """
        Convert the adjusted CNN, with thresholds from its activations.

        Parameters
        ----------
        preset : str
            A key of `PRESETS`.

        Returns
        -------
        SpikingNetwork
            The network.
        """
        cnn, card = models.pretrained("cifar10_quick_adjusted")
        return convert(
            cnn,
            card.input_shape,
            calibration=self._calibration,
            preset=preset,
            classes=card.classes,
        )

    def simulator(self, preset: str, n_steps: int) -> Simulator:
        """
        Compile the network of a preset, once.

        Parameters
        ----------
        preset : str
            A key of `PRESETS`.
        n_steps : int
            Steps of 1 ms of a picture.

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

    # -- the steps --------------------------------------------------------------------

    def cnns(self) -> dict[str, Any]:
        """
        Classify the test pictures with the CNN and with the adjusted CNN.

        Returns
        -------
        dict
            ``labels``, and ``cnn`` and ``adjusted``, the predicted classes.
        """

        def compute() -> dict[str, Any]:
            found = {"labels": self.test.labels.tolist()}
            for key, name in (
                ("cnn", "cifar10_quick"),
                ("adjusted", "cifar10_quick_adjusted"),
            ):
                module, _ = models.pretrained(name)
                found[key] = classify(module, self.test.images).tolist()
            return found

        return self.step("cnns", compute)

    def _budget(self, n_steps: int) -> int:
        budgets = self.extent.budgets
        return budgets[max(least for least in budgets if least <= n_steps)]

    def _tuned(
        self,
        name: str,
        simulator: Simulator,
        pictures: LabelledImages,
        unseen: LabelledImages,
        **options: Any,
    ) -> dict[str, Any]:
        """Tune, with a checkpoint until it is done; what the report needs of it."""
        checkpoint = self.steps / f"{name}-{self._fingerprint}.checkpoint"
        result = tune_thresholds(
            simulator,
            pictures.images,
            pictures.labels,
            held_out=(unseen.images, unseen.labels),
            accept="always",  # the report is about what each method finds
            seed=self.seed,
            executor=self.executor,
            checkpoint=checkpoint,
            progress=self.progress,
            **options,
        )
        checkpoint.unlink(missing_ok=True)
        history = result.history
        return {
            "parameters": asdict(result.parameters),
            "method": result.settings["method"],
            "objective": result.settings["objective"],
            "start": result.settings["start"],
            "n_candidates": len(history),
            "tuning": asdict(result.tuning),
            "held_out": asdict(result.held_out) if result.held_out else None,
            "values": [] if history.empty else history["value"].tolist(),
            "accuracies": [] if history.empty else history["accuracy"].tolist(),
        }

    def searched(self, preset: str, n_steps: int) -> dict[str, Any]:
        """
        Search parameters of a preset for a number of steps.

        With the paper's setting, a search begins where that of fewer steps ended.

        Parameters
        ----------
        preset : str
            A key of `PRESETS`.
        n_steps : int
            Steps of a picture.

        Returns
        -------
        dict
            ``parameters``, and how they do on pictures of the tuning and on others.
        """
        start = None
        shorter = [n for n in self.extent.durations if n < n_steps]
        if preset == "paper" and shorter:
            if n_steps >= LONG:
                return self._scaled(shorter[-1], n_steps)
            start = self._longer(shorter[-1], n_steps, LONGER_FACTOR)
        effort = FEW_STEPS_EFFORT if preset == "few-steps" else 1

        def compute() -> dict[str, Any]:
            pictures = self._training(
                round(effort * self.extent.n_tuning), self.extent.n_unseen, effort
            )
            return self._tuned(
                name,
                self.simulator(preset, n_steps),
                *pictures,
                method="search",
                tune=find_preset(preset).tune,
                start=start,
                budget=round(effort * self._budget(n_steps)),
            )

        name = f"searched-{preset}-{n_steps}"
        return self.step(name, compute)

    def _longer(self, shorter: int, n_steps: int, factor: float) -> dict[str, float]:
        """Thresholds of the paper's setting for fewer steps, made for more."""
        found = self.searched("paper", shorter)["parameters"]["thresholds"]
        growth = factor ** np.log2(n_steps / shorter)
        scaled = {name: float(growth * found[name]) for name in SWEPT}
        return {**found, **scaled}

    def _scaled(self, shorter: int, n_steps: int) -> dict[str, Any]:
        """Choose a factor for the thresholds of fewer steps, on training pictures."""

        def compute() -> dict[str, Any]:
            pictures, unseen = self._training(
                self.extent.n_tuning, self.extent.n_unseen
            )
            simulator = self.simulator("paper", n_steps)
            target = self._target(simulator, pictures)
            candidates = [self._longer(shorter, n_steps, f) for f in LONG_FACTORS]
            values = [0.0] * len(candidates)
            for index, result in simulator.run_many(
                pictures.images,
                [{"thresholds": thresholds} for thresholds in candidates],
                seed=self.seed,
                executor=self.executor,
                progress=self.progress,
            ):
                values[index] = OBJECTIVES["likelihood"](result, target)
            best = candidates[int(np.argmax(values))]
            return {
                **self._tuned(
                    name, simulator, pictures, unseen, method="search", start=best,
                    budget=1,
                ),
                "factors": dict(zip(map(str, LONG_FACTORS), values, strict=True)),
            }  # fmt: skip

        name = f"searched-paper-{n_steps}"
        return self.step(name, compute)

    def _target(self, simulator: Simulator, pictures: LabelledImages) -> Target:
        pixels = pictures.images.astype(np.float32) / 255
        return Target.of(simulator.snn.layers, pixels, pictures.labels)

    def papers_method(self, method: Any, n_steps: int) -> dict[str, Any]:
        """
        Set thresholds as the paper's listing or text does.

        Parameters
        ----------
        method : {"feedback", "bisection"}
            The listing, or the text.
        n_steps : int
            Steps of a picture.

        Returns
        -------
        dict
            ``parameters``, and how they do on pictures of the tuning and on others.
        """

        def compute() -> dict[str, Any]:
            extent = self.extent
            return self._tuned(
                name,
                self.simulator("paper", n_steps),
                *self._training(extent.n_listing, extent.n_unseen),
                method=method,
                budget=extent.listing_budget,
            )

        name = f"{method}-{n_steps}"
        return self.step(name, compute)

    def tested(
        self,
        name: str,
        preset: str,
        n_steps: int,
        parameters: dict[str, Any] | None,
        most: int | None = None,
    ) -> dict[str, Any]:
        """
        Show test pictures to the network, classes in turn.

        Parameters
        ----------
        name : str
            What the parameters are, for the steps' files.
        preset : str
            A key of `PRESETS`.
        n_steps : int
            Steps of a picture.
        parameters : dict, optional
            Arguments of `Simulator.run`; the data-based ones by default.
        most : int, optional
            Largest number of chunks of `CHUNK` pictures; all by default.

        Returns
        -------
        dict
            ``members``, the pictures; their ``predictions`` (and ``with_potential``,
            those of the readout that adds the potential left); ``ties``, ``silent``,
            ``events`` a picture by layer, ``output_spikes`` a picture.
        """
        chunks = []
        n_chunks = -(-len(self.test) // CHUNK)
        for number in range(n_chunks if most is None else min(most, n_chunks)):
            members = np.arange(number, len(self.test), n_chunks)

            def compute(
                members: npt.NDArray[np.intp] = members, number: int = number
            ) -> dict[str, Any]:
                result = self.simulator(preset, n_steps).run(
                    self.test.images[members],
                    seed=self.seed + number,
                    executor=self.executor,
                    progress=self.progress,
                    **(parameters or {}),
                )
                return {"members": members.tolist(), **_summary(result)}

            chunks.append(self.step(f"tested-{name}-{n_steps}-{number}", compute))
        members = np.concatenate([chunk["members"] for chunk in chunks])
        order = np.argsort(members)
        joined: dict[str, Any] = {"members": members[order].tolist()}
        for key in ("predictions", "with_potential"):
            joined[key] = np.concatenate([chunk[key] for chunk in chunks])[
                order
            ].tolist()
        for key in ("ties", "silent", "output_spikes", "seconds"):
            joined[key] = sum(chunk[key] for chunk in chunks)
        joined["output_spikes"] /= len(members)
        layers = chunks[0]["events"]
        joined["events"] = {
            layer: sum(chunk["events"][layer] for chunk in chunks) / len(members)
            for layer in layers
        }
        return joined

    def swept(self, layer: str, n_steps: int) -> dict[str, Any]:
        """
        Sweep the threshold of one layer, the others as the search found them (Fig. 3).

        Parameters
        ----------
        layer : str
            Name of the layer.
        n_steps : int
            Steps of a picture.

        Returns
        -------
        dict
            ``thresholds``, and for each ``right_spikes`` (spikes of the right output
            neuron a picture), ``spike_ratio`` and ``accuracy``; ``chosen``.
        """
        chosen = self.searched("paper", n_steps)["parameters"]

        def compute() -> dict[str, Any]:
            pictures, _ = self._training(self.extent.n_sweep, 0)
            simulator = self.simulator("paper", n_steps)
            target = self._target(simulator, pictures)
            thresholds = chosen["thresholds"][layer] * SWEEP_FACTORS
            settings = [
                {**chosen, "thresholds": {**chosen["thresholds"], layer: float(value)}}
                for value in thresholds
            ]
            found: dict[str, list[float]] = {
                key: [0.0] * len(settings)
                for key in ("right_spikes", "spike_ratio", "accuracy")
            }
            with progress_bar(
                f"sweeping {layer}", len(settings), show=self.progress
            ) as advance:
                for index, result in simulator.run_many(
                    pictures.images,
                    settings,
                    seed=self.seed,
                    executor=self.executor,
                    progress=False,
                ):
                    counts = result.output_counts()
                    right = counts[np.arange(len(counts)), target.labels]
                    found["right_spikes"][index] = float(right.mean())
                    for key in ("spike_ratio", "accuracy"):
                        found[key][index] = OBJECTIVES[key](result, target)
                    advance(1)
            return {
                "thresholds": thresholds.tolist(),
                "chosen": chosen["thresholds"][layer],
                "n_images": len(pictures),
                **found,
            }

        return self.step(f"swept-{layer}-{n_steps}", compute)


def _summary(result: SimulationResult) -> dict[str, Any]:
    """Numbers of a test that the report needs."""
    return {
        "predictions": result.predictions.tolist(),
        "with_potential": result.predict("spikes+potential").tolist(),
        "ties": int(result.ties.sum()),
        "silent": int(result.silent.sum()),
        "output_spikes": int(result.output_counts().sum()),
        "events": {layer: int(each.sum()) for layer, each in result.events.items()},
        "seconds": result.timings["run"],
    }
