"""Set the thresholds of a compiled network by what it makes of training images."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from brian2 import Quantity

from cnn2snn_brian.checkpoint import Checkpoint
from cnn2snn_brian.checks import check_choice, check_whole
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.simulator import Simulator, Workers
from cnn2snn_brian.tuning.base import Method, SimulatingMethod
from cnn2snn_brian.tuning.methods import (
    Bisection,
    MethodName,
    find_method,
    history_table,
)
from cnn2snn_brian.tuning.objectives import Objective, find_objective
from cnn2snn_brian.tuning.result import TuningResult, compare
from cnn2snn_brian.tuning.trials import COLUMNS, Shown, Trials, compiled, described
from cnn2snn_brian.tuning.tuning_set import tuning_sets


def tune_thresholds(
    simulator: Simulator | SpikingNetwork,
    images: Any,
    labels: Any,
    *,
    duration: Quantity | None = None,
    method: MethodName | Method = "search",
    objective: str | Objective | None = None,
    budget: int = 100,
    held_out: float | tuple[Any, Any] = 0.2,
    accept: Literal["better", "always"] = "better",
    seed: int = 0,
    executor: Workers = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> TuningResult:
    """
    Set the thresholds of a network by what it makes of training images.

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
        `Search`). Or an object of one of these classes.
    objective : str or callable, optional
        What to make as large as possible. "spike_ratio": share of the right output
        neurons in all output spikes (the paper's; the default of "feedback" and
        "bisection"). "accuracy" (the default of "data"). "agreement": share of images
        classified like by the CNN. "likelihood": how likely the CNN's classes are given
        the output spikes (the default of "search"). "feature_map" or
        "feature_map:LAYER": correlation of spike counts with the CNN's activations. Or
        a function of a `SimulationResult` and an `objectives.Target`.
    budget : int
        Largest number of candidates that are simulated.
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
        Options of the method that is named: ``layers``, ``bounds``, ``percentile`` and
        ``category`` of all of them, ``start`` of those that simulate, ``step`` of
        "feedback" and "search", ``resolution`` of "bisection", ``tune`` of "search".

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
    """
    snn = described(simulator)
    budget = check_whole("budget", budget, 1)
    seed = check_whole("seed", seed, 0)
    check_choice("accept", accept, ("better", "always"))
    chosen = find_method(method, options)
    function, objective_name, compared = find_objective(
        chosen.objective if objective is None else objective, snn.layers
    )
    tuned, unseen = tuning_sets(
        snn, images, labels, held_out=held_out, category=chosen.category, seed=seed
    )
    scope = chosen.scope(snn, tuned.images, budget, seed)
    if isinstance(chosen, Bisection):
        compared = tuple(dict.fromkeys((*compared, *scope.layers)))
    with ExitStack() as stack:
        ready = stack.enter_context(compiled(simulator, duration))
        settings = {
            **chosen.settings(scope),
            "objective": objective_name,
            "budget": budget,
            "seed": seed,
            "network": snn.fingerprint,
            "duration_s": ready.duration_s,
            "images": tuned.fingerprint(),
            "held_out": None if unseen is None else unseen.fingerprint(),
        }
        known = Checkpoint(checkpoint, "tuning", settings, COLUMNS)
        stack.enter_context(known)
        shown = Shown(ready, tuned, compared, seed, executor)
        trials = Trials(shown, function, known)
        found = scope.start
        if isinstance(chosen, SimulatingMethod):
            found = trials.follow(chosen.rounds(scope), budget, show=progress)
        checks = [compare(shown, function, snn.parameters, found)]
        if unseen is not None:
            apart = Shown(ready, unseen, compared, seed, executor)
            checks.append(compare(apart, function, snn.parameters, found))
    by_accuracy = unseen is not None and not callable(objective)
    return TuningResult(
        before=snn.parameters,
        found=found,
        accepted=accept == "always" or checks[-1].is_better(by_accuracy=by_accuracy),
        history=history_table(trials.history),
        tuning=checks[0],
        held_out=None if unseen is None else checks[1],
        settings={**known.settings, "accept": accept},
    )
