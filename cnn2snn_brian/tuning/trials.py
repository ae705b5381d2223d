"""
Trying candidates: simulate them on the same images, and keep their values.

Values go to a checkpoint as they come in. A method that is started again is given the
values on record, and goes on where it was.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from brian2 import Quantity

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.results import SimulationResult
from cnn2snn_brian.settings import ByChannel, Parameters, recorded, suitable_duration
from cnn2snn_brian.simulator import Simulator, Workers
from cnn2snn_brian.tuning.base import (
    Candidate,
    Round,
    Rounds,
    Scope,
    SimulatingMethod,
    check_positive,
    with_threshold,
)
from cnn2snn_brian.tuning.objectives import Objective, Target, feature_map_correlation
from cnn2snn_brian.tuning.tuning_set import TuningSet

#: Where thresholds begin in the paper's listing.
START = 0.1


@dataclass(frozen=True, kw_only=True)
class Feedback(SimulatingMethod):
    """
    Follow the paper's listing.

    Layer after layer, the threshold is raised by one step and stays there if the output
    became better; else it goes back [1]_. That is repeated until no layer gains, since
    after that nothing would ever change. Each round has one candidate: a try depends on
    the one before.

    Attributes
    ----------
    layers, bounds, percentile, category
        See `Method`.
    start : float or dict of str to float, optional
        First thresholds; the listing's 0.1 by default.
    step : float
        The listing's n. The paper names no number.

    References
    ----------
    .. [1] Shang, Li and You, An SNN Construction Method Based on CNN Conversion and
       Threshold Setting, section III.C.
    """

    step: float = 0.1

    name: ClassVar[str] = "feedback"
    objective: ClassVar[str] = "spike_ratio"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "step", check_positive("step", self.step))

    def begin(
        self,
        layers: tuple[str, ...],
        lower: Mapping[str, float],
        data_based: Mapping[str, ByChannel],
    ) -> Mapping[str, ByChannel]:
        """Begin where the listing does; see `Method.begin`."""
        return dict.fromkeys(layers, START)

    def rounds(self, scope: Scope) -> Rounds:
        """Raise thresholds as long as it helps; see `SimulatingMethod.rounds`."""
        current = scope.start
        (best,) = yield Round((Candidate(current, "start"),), current)
        gained = True
        while gained:
            gained = False
            for layer in scope.layers:
                raised = current.thresholds[layer] + self.step
                # 0.1 + 0.1 + 0.1 is a little above 0.3, and yet within it.
                if raised > scope.upper[layer] * (1 + 1e-9):
                    continue
                trial = with_threshold(current, layer, raised)
                note = f"{layer} + {self.step:g}"
                (value,) = yield Round((Candidate(trial, note),), current)
                if value > best:
                    current, best, gained = trial, value, True
        return current


#: What is on record of each candidate.
COLUMNS = (
    "candidate",
    "round",
    "note",
    "n_images",
    "value",
    "criterion",
    "accuracy",
    "seconds",
    "parameters",
)


class Shown:
    """
    Images as they are shown to a simulator, the same for all that is compared.

    Parameters
    ----------
    simulator : Simulator
        The network.
    images : TuningSet
        The images.
    compared : tuple of str
        Layers whose activations are needed.
    seed : int
        Seed of the input spikes.
    executor : int, Executor or None
        Who runs them.
    """

    def __init__(
        self,
        simulator: Simulator,
        images: TuningSet,
        compared: tuple[str, ...],
        seed: int,
        executor: Workers,
    ) -> None:
        self.simulator = simulator
        self.images = images
        self.seed = seed
        self.executor = executor
        self.target = Target.of(
            simulator.snn.layers, images.images, images.labels, compared
        )

    def run(self, settings: list[Parameters], n_images: int | None = None) -> Any:
        """Show the first images with several settings."""
        return self.simulator.run_many(
            self.images.images[:n_images],
            [vars(parameters) for parameters in settings],
            seed=self.seed,
            executor=self.executor,
            progress=False,
        )


def described(network: Any) -> SpikingNetwork:
    """Give the description of a network."""
    found = getattr(network, "snn", network)
    if not isinstance(found, SpikingNetwork):
        raise InputError(
            f"found a {type(network).__name__}, expected a SpikingNetwork, as convert "
            "gives, or what its compile() gives"
        )
    return found


@contextmanager
def compiled(
    network: Simulator | SpikingNetwork, duration: Quantity | None
) -> Iterator[Simulator]:
    """Compile a network that is not compiled."""
    if not isinstance(network, SpikingNetwork):
        if duration is not None:
            raise InputError("duration: this network is compiled, and has one")
        yield network
        return
    suitable = suitable_duration(network) if duration is None else duration
    with Simulator(network, suitable) as simulator:
        yield simulator


class Trials:
    """
    Candidates of a method: simulated, or taken from a checkpoint.

    Parameters
    ----------
    shown : Shown
        The images, and the simulator.
    objective : callable
        What is to become large.
    checkpoint : Checkpoint
        Values that are known, and where new ones are kept.
    """

    def __init__(
        self, shown: Shown, objective: Objective, checkpoint: Checkpoint
    ) -> None:
        self.shown = shown
        self.objective = objective
        self.checkpoint = checkpoint
        self.history: list[dict[str, Any]] = []
        self.n_rounds = 0

    def evaluate(self, tried: Round) -> list[float]:
        """Find the values of a round's candidates."""
        first = len(self.history)
        n_images = max(1, round(tried.share * len(self.shown.images)))
        missing = [
            offset
            for offset in range(len(tried.candidates))
            if not self._is_known(first + offset, tried, offset, n_images)
        ]
        if missing:
            target = self.shown.target.first(n_images)
            results = self.shown.run(
                [tried.candidates[offset].parameters for offset in missing], n_images
            )
            # If the objective fails, the other candidates' programs end at once.
            with closing(results):
                for index, result in results:
                    offset = missing[index]
                    row = self._row(tried, offset, result, target)
                    number = first + offset
                    self.checkpoint.add(str(number), {"candidate": number, **row})
        rows = [
            self.checkpoint.rows[str(first + offset)]
            for offset in range(len(tried.candidates))
        ]
        self.history.extend(rows)
        self.n_rounds += 1
        return [row["criterion"] for row in rows]

    def _is_known(self, number: int, tried: Round, offset: int, n_images: int) -> bool:
        """Whether a candidate is on record; an error if another one is."""
        row = self.checkpoint.rows.get(str(number))
        if row is None:
            return False
        parameters = recorded(tried.candidates[offset].parameters)
        given = json.loads(json.dumps(parameters))
        if row["parameters"] != given or row["n_images"] != n_images:
            raise InputError(
                f"checkpoint {self.checkpoint.path}: candidate {number} is another "
                "than this version of the method tries. Give another file"
            )
        return True

    def _row(
        self, tried: Round, offset: int, result: SimulationResult, target: Target
    ) -> dict[str, Any]:
        """Put together what is kept of a candidate."""
        candidate = tried.candidates[offset]
        value = float(self.objective(result, target))
        if np.isnan(value):
            raise InputError(f"the objective is not a number for {candidate.note}")
        criterion = value
        if tried.layer is not None:
            agreement = feature_map_correlation(result, target, tried.layer)
            # Agreement has to help a value below 0 as well.
            criterion *= agreement if value >= 0 else 2 - agreement
        return {
            "round": self.n_rounds,
            "note": candidate.note,
            "n_images": target.n_images,
            "value": value,
            "criterion": criterion,
            "accuracy": result.accuracy(target.labels),
            "seconds": result.timings["run"],
            "parameters": recorded(candidate.parameters),
        }

    def follow(self, rounds: Rounds, budget: int, *, show: bool) -> Parameters:
        """Run a method to its end, or to the end of the budget."""
        with progress_bar("setting thresholds", budget, show=show) as advance:
            values: list[float] | None = None
            try:
                while True:
                    tried = rounds.send(values) if values else next(rounds)
                    if len(self.history) + len(tried.candidates) > budget:
                        rounds.close()
                        return tried.current
                    values = self.evaluate(tried)
                    # Values of fewer images can't be compared with these.
                    n_images = self.history[-1]["n_images"]
                    best = max(
                        row["value"]
                        for row in self.history
                        if row["n_images"] == n_images
                    )
                    note = f"{tried.candidates[-1].note}; best {best:.4f}"
                    advance(len(values), note)
            except StopIteration as stop:
                chosen: Parameters = stop.value
                return chosen
