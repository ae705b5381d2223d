"""Set the thresholds of a compiled network by how it responds to training images."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Quantity

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_choice, check_number, check_whole, whole_numbers
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import Parameters, check_shown, recorded, suitable_duration
from cnn2snn_brian.simulator import Simulator, Workers
from cnn2snn_brian.tuning.methods import (
    Bisection,
    Candidate,
    Method,
    MethodName,
    Percentiles,
    Round,
    Rounds,
    find_method,
)
from cnn2snn_brian.tuning.objectives import (
    Objective,
    Target,
    feature_map_correlation,
    find_objective,
)
from cnn2snn_brian.tuning.result import Check, TuningResult, history_table

#: What is on record of each candidate.
COLUMNS = "candidate round note n_images value criterion accuracy seconds parameters"


def fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """Hash images, or images and labels."""
    content = b"".join(array.tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class TuningSet:
    """
    Images with their classes, mixed so that any first ones have all classes.

    Attributes
    ----------
    images : ndarray of float32, shape (n_images, channels, height, width)
        Pixels in [0, 1].
    labels : ndarray of int64, shape (n_images,)
        Their classes.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        network: SpikingNetwork,
        images: Any,
        labels: Any,
        category: int | str | None,
        seed: int,
        what: str = "labels",
    ) -> "TuningSet":
        """Check images and labels, take those of a category, and mix them."""
        n_classes = int(np.prod(network.layers[-1].shape))
        pixels = check_shown(images, network.layers)
        truth = np.asarray(labels)
        if truth.shape != pixels.shape[:1] or truth.dtype.kind not in "iu":
            raise InputError(
                f"{what}: {len(pixels)} images need as many whole numbers, found "
                f"{truth.dtype} of shape {truth.shape}"
            )
        truth = whole_numbers(what, truth, n_classes)
        if category is not None:
            names = network.classes or ()
            index = names.index(category) if category in names else category
            if not isinstance(index, int) or not 0 <= index < n_classes:
                raise InputError(
                    f"category={category!r}: expected 0 to {n_classes - 1}, or the "
                    f"name of a class; the network's are {names}"
                )
            pixels, truth = pixels[truth == index], truth[truth == index]
            if not len(truth):
                raise InputError(
                    f"category={category!r}: no image has this label in {what}"
                )
        return cls.mixed(pixels, truth, seed)

    @classmethod
    def mixed(
        cls, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], seed: int
    ) -> "TuningSet":
        """Shuffle images, and take the classes in turn."""
        from pandas import Series

        shuffled = np.random.default_rng(seed).permutation(len(labels))
        rank = Series(labels[shuffled]).groupby(labels[shuffled]).cumcount()
        mixed = shuffled[np.lexsort((labels[shuffled], rank))]
        return cls(images[mixed], labels[mixed])

    def split(self, share: float) -> "tuple[TuningSet, TuningSet]":
        """Keep a share of every class apart."""
        apart = np.zeros(len(self.labels), bool)
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            n_apart = max(int(share > 0), int(share * len(members)))
            apart[members[max(1, len(members) - n_apart) :]] = True
        return (
            TuningSet(self.images[~apart], self.labels[~apart]),
            TuningSet(self.images[apart], self.labels[apart]),
        )


def described(network: Any) -> SpikingNetwork:
    """Give the network of a simulator, or what is one itself."""
    found = getattr(network, "snn", network)
    if not isinstance(found, SpikingNetwork):
        raise InputError(
            f"found a {type(network).__name__}, expected a SpikingNetwork, as convert "
            "gives, or what its compile() gives"
        )
    return found


@contextmanager
def started(
    work: str,
    network: Simulator | SpikingNetwork,
    duration: Quantity | None,
    checkpoint: str | Path | None,
    settings: dict[str, Any],
    columns: Iterable[str],
) -> Iterator[tuple[Simulator, Checkpoint]]:
    """Compile a network that is not compiled, and open the checkpoint of the work."""
    snn = described(network)
    with ExitStack() as stack:
        if isinstance(network, SpikingNetwork):
            suitable = suitable_duration(network) if duration is None else duration
            simulator = stack.enter_context(Simulator(network, suitable))
        elif duration is None:
            simulator = network
        else:
            raise InputError("duration: this network is compiled, and has one")
        own = {"network": snn.fingerprint, "duration_s": simulator.duration_s}
        known = Checkpoint(checkpoint, work, {**settings, **own}, columns)
        yield simulator, stack.enter_context(known)


@dataclass
class Trials:
    """
    Images as they are shown with all candidates, and what came of each.

    Attributes
    ----------
    show : callable
        Runs images with several parameters, see `Simulator.run_many`.
    images : ndarray of float32, shape (n_images, channels, height, width)
        The images.
    target : Target
        What they should yield.
    objective : callable
        What is to become large.
    checkpoint : Checkpoint
        Values that are known, and where new ones are kept.
    history : list of dict
        What is on record of each candidate, in order.
    """

    show: Callable[..., Any]
    images: npt.NDArray[np.float32]
    target: Target
    objective: Objective
    checkpoint: Checkpoint
    history: list[dict[str, Any]] = field(default_factory=list)

    def check(self, before: Parameters, found: Parameters) -> Check:
        """Compare two settings on all images."""
        target, labels = self.target, self.target.labels
        results = dict(self.show(self.images, [before, found]))
        was_right, is_right = (results[k].predictions == labels for k in (0, 1))
        return Check(
            n_images=target.n_images,
            value_before=float(self.objective(results[0], target)),
            value=float(self.objective(results[1], target)),
            accuracy_before=float(was_right.mean()),
            accuracy=float(is_right.mean()),
            cnn_accuracy=float((target.predictions == labels).mean()),
            n_gained=int((is_right & ~was_right).sum()),
            n_lost=int((was_right & ~is_right).sum()),
        )

    def follow(self, rounds: Rounds, budget: int, *, progress: bool) -> Parameters:
        """Run a method to its end, or to the end of the budget."""
        values: Any = None
        with progress_bar("setting thresholds", budget, show=progress) as advance:
            while True:
                try:
                    tried = rounds.send(values)
                except StopIteration as stop:
                    chosen: Parameters = stop.value
                    return chosen
                if len(self.history) + len(tried.candidates) > budget:
                    return tried.current
                rows = self.evaluate(tried)
                # Values of fewer images can't be compared with these.
                same = [r for r in self.history if r["n_images"] == rows[0]["n_images"]]
                best = max(row["value"] for row in same)
                advance(len(rows), f"{rows[-1]['note']}; best {best:.4f}")
                values = [row["criterion"] for row in rows]

    def evaluate(self, tried: Round) -> list[dict[str, Any]]:
        """Find what is on record of a round's candidates, or simulate them."""
        n_images = max(1, round(tried.share * len(self.images)))
        rows, number = self.checkpoint.rows, len(self.history)
        candidates = {str(number + k): each for k, each in enumerate(tried.candidates)}
        missing = []
        for key, candidate in candidates.items():
            given = {"n_images": n_images, "parameters": recorded(candidate.parameters)}
            if key not in rows:
                missing.append(key)
            elif json.dumps({k: rows[key][k] for k in given}) != json.dumps(given):
                raise InputError(
                    f"checkpoint {self.checkpoint.path}: candidate {key} is another "
                    "than this version of the method tries. Give another file"
                )
        if missing:
            parameters = [candidates[key].parameters for key in missing]
            # If the objective fails, the other candidates' programs end at once.
            with closing(self.show(self.images[:n_images], parameters)) as results:
                for index, result in results:
                    key = missing[index]
                    row = self._row(tried, candidates[key], result)
                    self.checkpoint.add(key, {"candidate": int(key), **row})
        found = [rows[key] for key in candidates]
        self.history += found
        return found

    def _row(
        self, tried: Round, candidate: Candidate, result: SimulationResult
    ) -> dict[str, Any]:
        """Put together what is kept of a candidate."""
        target = self.target.first(result.n_images)
        value = float(self.objective(result, target))
        if np.isnan(value):
            raise InputError(f"the objective is not a number for {candidate.note}")
        criterion = value
        if tried.layer is not None:
            agreement = feature_map_correlation(result, target, tried.layer)
            # Agreement has to help a value below 0 as well.
            criterion *= agreement if value >= 0 else 2 - agreement
        return {
            "round": self.history[-1]["round"] + 1 if self.history else 0,
            "note": candidate.note,
            "n_images": target.n_images,
            "value": value,
            "criterion": criterion,
            "accuracy": result.accuracy(target.labels),
            "seconds": result.timings["run"],
            "parameters": recorded(candidate.parameters),
        }


def tune_thresholds(
    simulator: Simulator | SpikingNetwork,
    images: Any,
    labels: Any,
    *,
    duration: Quantity | None = None,
    method: MethodName | Method = "search",
    held_out: float | tuple[Any, Any] = 0.2,
    accept: Literal["better", "always"] = "better",
    seed: int = 0,
    executor: Workers = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> TuningResult:
    """
    Set the thresholds of a network by how it responds to training images.

    All candidates see the same images and the same input spikes. Nothing is compiled
    for them.

    Parameters
    ----------
    simulator : Simulator or SpikingNetwork
        A compiled network, or one to compile. It is not changed, and its own parameters
        hold for all that is not tuned.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Training images, float in [0, 1] or uint8. Never test images.
    labels : array_like of int, shape (n_images,)
        Their classes.
    duration : Quantity [s], optional
        How long an image is shown, for a network that is not compiled; by default what
        suits its settings, see `suitable_duration`.
    method : {"search", "feedback", "bisection", "data"}, or Method
        "feedback" is the paper's listing (see `Feedback`): raise a threshold by a step,
        keep it or go back, layer after layer. "bisection" is the paper's text (see
        `Bisection`): a binary search from 0 to a maximum, layer after layer. "data"
        takes percentiles of the CNN's activations, without a simulation (see
        `Percentiles`). "search" is an evolution strategy that begins at these (see
        `Search`). Or an object of one of these classes, with its options.
    held_out : float or (images, labels)
        Share of each class that is kept apart to check the result on, at least one
        image of each, or images for that. 0 for none.
    accept : {"better", "always"}
        "better": the network's own parameters stay unless those found are better on
        the images that are kept apart. The accuracy decides, and the objective where it
        is the same; an objective that is a function decides alone, and so does any
        objective on the tuned images if none are kept apart. "always": the result is
        what was found.
    seed : int
        Seed of the input spikes, of the choice of images and of random steps.
    executor : int or concurrent.futures.Executor, optional
        Who runs the images, see `Simulator.run`. It does not change the result.
    checkpoint : path-like, optional
        File that every candidate's value is written to. If it exists, the tuning goes
        on from there and ends with the result that it would have had.
    progress : bool
        Whether to show a progress bar with the best value so far.
    **options
        Options of the method that is named. All have ``objective``, ``budget`` (largest
        number of candidates that are simulated, 100), ``layers``, ``bounds``,
        ``percentile`` and ``category``; those that simulate have ``start``, "feedback"
        and "search" ``step``, "bisection" ``resolution``, and "search" ``tune``.

    Returns
    -------
    TuningResult
        The chosen parameters, how they do on images that were tuned on and on others,
        and a table of all candidates.

    Raises
    ------
    InputError
        If an argument can't be used, the method does not have an option, a class that
        is asked for has no images, or the checkpoint is of another network, other
        images or other arguments.
    SimulationError
        If a simulation fails.

    Notes
    -----
    The ``objective`` is what to make as large as possible. "spike_ratio": share of the
    right output neurons in all output spikes (the paper's; the default of "feedback"
    and "bisection"). "accuracy" (the default of "data"). "agreement": share of images
    classified like by the CNN. "likelihood": how likely the CNN's classes are given the
    output spikes (the default of "search"). "feature_map" or "feature_map:LAYER":
    correlation of spike counts with the CNN's activations. Or a function of a
    `SimulationResult` and an `objectives.Target`.
    """
    snn = described(simulator)
    seed = check_whole("seed", seed, 0)
    check_choice("accept", accept, ("better", "always"))
    chosen = find_method(method, options)
    function, objective, compared = find_objective(chosen.objective, snn.layers)
    tuned = TuningSet.of(snn, images, labels, chosen.category, seed)
    if isinstance(held_out, tuple) and len(held_out) == 2:
        what = "labels of held_out"
        unseen = TuningSet.of(snn, *held_out, chosen.category, seed, what)
    else:
        what = "held_out (a share, or images and labels)"
        tuned, unseen = tuned.split(check_number(what, held_out, 0, below=1))
    n_unseen = len(unseen.labels)
    activations = snn.layers.collected_activations(tuned.images)
    scope = chosen.scope(snn, activations, seed)
    if isinstance(chosen, Bisection):
        compared = tuple(dict.fromkeys((*compared, *scope.layers)))
    last, n_tuned = snn.layer_names[-1], len(tuned.labels)
    kept = {name: activations[name].reshape(n_tuned, -1) for name in (*compared, last)}
    target = Target(tuned.labels, kept, last)
    del activations
    settings = {
        **chosen.settings(scope),
        "objective": objective,
        "budget": chosen.budget,
        "seed": seed,
        "images": fingerprint(tuned.images, tuned.labels),
        "held_out": fingerprint(unseen.images, unseen.labels) if n_unseen else None,
    }
    with started(
        "tuning", simulator, duration, checkpoint, settings, COLUMNS.split()
    ) as (ready, known):
        show = partial(ready.run_many, seed=seed, executor=executor, progress=False)
        trials = Trials(show, tuned.images, target, function, known)
        progress = progress and not isinstance(chosen, Percentiles)
        found = trials.follow(chosen.rounds(scope), chosen.budget, progress=progress)
        tuning, apart = trials.check(snn.parameters, found), None
        if n_unseen:
            target = Target.of(snn.layers, unseen.images, unseen.labels, compared)
            others = Trials(show, unseen.images, target, function, known)
            apart = others.check(snn.parameters, found)
    by_accuracy = apart is not None and not callable(chosen.objective)
    is_better = (apart or tuning).is_better(by_accuracy=by_accuracy)
    return TuningResult(
        before=snn.parameters,
        found=found,
        accepted=accept == "always" or is_better,
        history=history_table(trials.history),
        tuning=tuning,
        held_out=apart,
        settings={**known.settings, "accept": accept},
    )
