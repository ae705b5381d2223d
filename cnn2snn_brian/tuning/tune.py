"""
Threshold setting by feedback: simulate, look at the output, change the thresholds.

A CNN says nothing of thresholds, and whether its SNN classifies as well depends on
them. `tune_thresholds` runs a compiled simulator again and again to find them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.parameters import ByLayer, Parameters, check_names
from cnn2snn_brian.description.pictures import check_images
from cnn2snn_brian.description.thresholds import data_based_thresholds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.program.simulator import Simulator
from cnn2snn_brian.program.workers import Workers
from cnn2snn_brian.tuning.methods import TUNABLE, bisection, feedback, search
from cnn2snn_brian.tuning.objectives import Objective, find_objective
from cnn2snn_brian.tuning.trials import Pictures, Records, Tuner

if TYPE_CHECKING:
    pass
from cnn2snn_brian.tuning.result import Check, TuningResult, _history_frame

__all__ = ["MethodName", "tune_thresholds"]

MethodName = Literal["feedback", "bisection", "data", "search"]


#: Where thresholds begin, and the listing's n, if nothing is said. The paper's listing
#: begins at 0.1 and names no n.
FEEDBACK_START = 0.1


FEEDBACK_STEP = 0.1


SEARCH_STEP = 0.25


#: Bounds of thresholds, if none are given, as multiples of the data-based ones.
BOUND_FACTORS = (1 / 64, 16.0)


DEFAULT_OBJECTIVES: dict[MethodName, str] = {
    "feedback": "spike_ratio",
    "bisection": "spike_ratio",
    "data": "accuracy",
    "search": "likelihood",
}


def _check_labels(
    labels: Any, n_images: int, n_classes: int, what: str
) -> npt.NDArray[np.int64]:
    truth = np.asarray(labels)
    if truth.shape != (n_images,) or not np.issubdtype(truth.dtype, np.integer):
        message = (
            f"{what}: {n_images} pictures need as many whole numbers, found "
            f"{truth.dtype} of shape {truth.shape}"
        )
        raise InputError(message)
    if n_images and not (truth.min() >= 0 and truth.max() < n_classes):
        message = (
            f"{what} are from {truth.min()} to {truth.max()}, expected 0 to "
            f"{n_classes - 1}: the network has {n_classes} outputs"
        )
        raise InputError(message)
    return truth.astype(np.int64)


def _category_index(
    category: int | str, classes: tuple[str, ...] | None, n: int
) -> int:
    if isinstance(category, str):
        if classes is None or category not in classes:
            known = "has no class names" if classes is None else f"has {classes}"
            message = f"category={category!r}: the network {known}"
            raise InputError(message)
        return classes.index(category)
    if not isinstance(category, int | np.integer) or not 0 <= category < n:
        message = f"category={category!r}: expected 0 to {n - 1}, or a class name"
        raise InputError(message)
    return int(category)


def _network_fingerprint(simulator: Simulator) -> str:
    snn = simulator.snn
    settings = [str(snn), simulator.n_steps, asdict(snn.parameters)]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for layer in snn.layers:
        for item in fields(layer):
            value = getattr(layer, item.name)
            is_array = isinstance(value, np.ndarray)
            digest.update(value.tobytes() if is_array else repr(value).encode())
    return digest.hexdigest()[:16]


def _bounds_by_layer(
    bounds: Any, names: tuple[str, ...], data_based: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Take bounds as given, and multiples of data-based thresholds elsewhere."""
    lower = {name: BOUND_FACTORS[0] * value for name, value in data_based.items()}
    upper = {name: BOUND_FACTORS[1] * value for name, value in data_based.items()}
    if bounds is not None:
        by_layer = (
            bounds if isinstance(bounds, Mapping) else dict.fromkeys(names, bounds)
        )
        check_names("bounds", by_layer, names)
        for name, pair in by_layer.items():
            try:
                lower[name], upper[name] = map(float, pair)
            except (TypeError, ValueError) as error:
                message = f"bounds of {name}: expected (low, high), found {pair!r}"
                raise InputError(message) from error
    for name in names:
        if not 0 < lower[name] < upper[name] < np.inf:
            message = (
                f"bounds of {name} are {lower[name]:g} and {upper[name]:g}, expected "
                "0 < low < high"
            )
            raise InputError(message)
    return lower, upper


def _check_chosen(what: str, given: Sequence[str], known: tuple[str, ...]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown or not given or len({*given}) < len(given):
        message = (
            f"{what}={given!r}: expected some of {', '.join(map(repr, known))}, each "
            "once"
        )
        raise InputError(message)


def _as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    # The letters of a name are no names.
    return (names,) if isinstance(names, str) else tuple(names)


def tune_thresholds(
    simulator: Simulator,
    images: Any,
    labels: Any,
    *,
    method: MethodName = "feedback",
    objective: str | Objective | None = None,
    category: int | str | None = None,
    layers: Sequence[str] | None = None,
    tune: Sequence[str] = ("thresholds",),
    start: ByLayer | None = None,
    step: float | None = None,
    bounds: Any = None,
    budget: int = 100,
    percentile: float = 99.9,
    held_out: float | tuple[Any, Any] = 0.2,
    seed: int = 0,
    executor: Workers = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> TuningResult:
    """
    Set the thresholds of a compiled network by what it makes of training pictures.

    All candidates see the same pictures and the same input spikes. Nothing is compiled.

    Parameters
    ----------
    simulator : Simulator
        A compiled network. Its own parameters hold for all that is not tuned.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        Training pictures, float in [0, 1] or uint8. Never test pictures.
    labels : array_like of int, shape (n_images,)
        Their classes.
    method : {"feedback", "bisection", "data", "search"}
        "feedback": the paper's listing: raise a threshold by `step`, keep it or go
        back, layer after layer. "bisection": the paper's text: a binary search from 0
        to a maximum, layer after layer. "data": percentiles of the CNN's activations,
        without a simulation. "search": from "data", an evolution strategy.
    objective : str or callable, optional
        What to make as large as possible. "spike_ratio": share of the right output
        neurons in all output spikes (the paper's; the default of "feedback" and
        "bisection"). "accuracy". "agreement": share of pictures classified like by
        the CNN. "likelihood": how likely the CNN's classes are given the output spikes
        (the default of "search"). "feature_map" or "feature_map:LAYER": correlation of
        spike counts with the CNN's activations. Or a function of a `SimulationResult`
        and an `objectives.Target`.
    category : int or str, optional
        Use pictures of this class only, as the paper does. All by default.
    layers : sequence of str, optional
        Set these layers only, in this order; all by default.
    tune : sequence of str
        With "search": any of "thresholds", "v_min", "v_init" and "leak".
    start : float or dict of str to float, optional
        First thresholds of the layers that are set: 0.1 for "feedback" (the
        listing's), the lower bounds for "bisection" (the text's 0), those of "data"
        for "search". Bounds that are given hold for these too.
    step : float, optional
        "feedback": the listing's n, 0.1 by default. "search": the first steps, as the
        logarithm of a factor, 0.25 by default.
    bounds : tuple (low, high), or dict of str to tuple, optional
        Smallest and largest thresholds; from 1/64 to 16 times the data-based ones by
        default.
    budget : int
        Largest number of candidates that are simulated. "search" needs up to 16
        for its first generation of random steps.
    percentile : float
        Percentile of the data-based thresholds.
    held_out : float or (images, labels)
        Share of each class that is kept apart to check the result on, at least one
        picture of each, or pictures for that. 0 for none.
    seed : int
        Seed of the input spikes, of the choice of pictures and of random steps.
    executor : int or concurrent.futures.Executor, optional
        Who runs the pictures, see `Simulator.run`. It does not change the result.
    checkpoint : path-like, optional
        File that every candidate's value is written to. If it exists, the tuning goes
        on from there and ends with the result that it would have had.
    progress : bool
        Whether to show a progress bar with the best value so far.

    Returns
    -------
    TuningResult
        The chosen parameters, how they do on pictures that were tuned on and on
        others, and a table of all candidates.

    Raises
    ------
    InputError
        If an argument can't be used, a class that is asked for has no pictures, or the
        checkpoint is of another network, other pictures or other arguments.
    SimulationError
        If a simulation fails.
    """
    snn = simulator.snn
    names = snn.layer_names
    n_classes = int(np.prod(snn.layers[-1].shape))
    if method not in DEFAULT_OBJECTIVES:
        message = (
            f"method={method!r}: expected one of "
            f"{', '.join(map(repr, DEFAULT_OBJECTIVES))}"
        )
        raise InputError(message)
    for what, number, smallest in (("budget", budget, 1), ("seed", seed, 0)):
        is_whole = isinstance(number, int | np.integer) and number is not True
        if not is_whole or number < smallest:
            message = (
                f"{what} is {number!r}, expected a whole number of at least {smallest}"
            )
            raise InputError(message)
    budget, seed = int(budget), int(seed)
    unused = {"step": {"bisection", "data"}, "start": {"data"}}
    for what, without in unused.items():
        if method in without and {"step": step, "start": start}[what] is not None:
            message = f"method={method!r} uses no {what}"
            raise InputError(message)
    if step is not None and not (np.isfinite(step) and step > 0):
        message = f"step is {step}, expected a finite number above 0"
        raise InputError(message)
    step = None if step is None else float(step)
    chosen_layers = names if layers is None else _as_tuple(layers)
    tune = _as_tuple(tune)
    _check_chosen("layers", chosen_layers, names)
    _check_chosen("tune", tune, TUNABLE)
    if method != "search" and tuple(tune) != ("thresholds",):
        message = f"method={method!r} sets thresholds only, found tune={tuple(tune)}"
        raise InputError(message)
    function, objective_name, compared = find_objective(
        DEFAULT_OBJECTIVES[method] if objective is None else objective, snn.layers
    )
    if method == "bisection":
        compared = tuple(dict.fromkeys((*compared, *chosen_layers)))

    def pictures_of(given: Any, truth: Any, what: str) -> Pictures:
        pixels = check_images(given, snn.input_shape)
        classes = _check_labels(truth, len(pixels), n_classes, what)
        if category is not None:
            index = _category_index(category, snn.classes, n_classes)
            pixels, classes = pixels[classes == index], classes[classes == index]
            if not len(classes):
                message = f"category={category!r}: no picture has this label in {what}"
                raise InputError(message)
        return Pictures.mixed(pixels, classes, seed)

    pictures = pictures_of(images, labels, "labels")
    if isinstance(held_out, tuple) and len(held_out) == 2:
        unseen: Pictures | None = pictures_of(*held_out, "labels of held_out")
    else:
        if not isinstance(held_out, int | float) or not 0 <= held_out < 1:
            message = (
                f"held_out is {held_out!r}, expected a share from 0 to below 1, or "
                "(images, labels)"
            )
            raise InputError(message)
        pictures, unseen = pictures.split(held_out)
        unseen = unseen if len(unseen) else None
    data_based = data_based_thresholds(
        snn.layers, pictures.images, percentile, snn.parameters.rate_scale
    )
    lower, upper = _bounds_by_layer(bounds, names, data_based)
    first = _start_parameters(
        method, start, snn.parameters, chosen_layers, lower, data_based
    )
    if bounds is not None:
        first = _within(first, bounds, chosen_layers, lower, upper, start is not None)
    settings = {
        "method": method,
        "objective": objective_name,
        "category": category if isinstance(category, str | None) else int(category),
        "layers": list(chosen_layers),
        "tune": list(tune),
        "start": asdict(first),
        "step": step,
        "bounds": {name: [lower[name], upper[name]] for name in names},
        "budget": budget,
        "percentile": float(percentile),
        "seed": seed,
        "network": _network_fingerprint(simulator),
        "pictures": pictures.fingerprint(),
        "held_out": None if unseen is None else unseen.fingerprint(),
    }
    records = Records(checkpoint, settings)
    tuner = Tuner(simulator, pictures, function, compared, seed, executor, records)
    chosen = first
    methods: dict[str, Any] = {
        "feedback": partial(
            feedback, first, chosen_layers, step or FEEDBACK_STEP, upper
        ),
        "bisection": partial(bisection, first, chosen_layers, lower, upper),
        "search": partial(
            search,
            first,
            snn.layers,
            chosen_layers,
            tuple(tune),
            step or SEARCH_STEP,
            lower,
            upper,
            budget,
            seed,
        ),
    }
    if method in methods:
        chosen = tuner.follow(methods[method](), budget, show=progress)
    return TuningResult(
        chosen,
        _history_frame(tuner.history),
        _check(tuner, snn.parameters, chosen),
        None
        if unseen is None
        else _check(
            Tuner(
                simulator,
                unseen,
                function,
                compared,
                seed,
                executor,
                Records(None, settings),
            ),
            snn.parameters,
            chosen,
        ),
        settings,
    )


def _start_parameters(
    method: MethodName,
    start: ByLayer | None,
    own: Parameters,
    layers: tuple[str, ...],
    lower: Mapping[str, float],
    data_based: Mapping[str, float],
) -> Parameters:
    """Thresholds to begin with; the network's own for layers that are not set."""
    names = tuple(own.thresholds)
    defaults = {
        "feedback": dict.fromkeys(names, FEEDBACK_START),
        "bisection": lower,
        "data": data_based,
        "search": data_based,
    }
    thresholds = {name: defaults[method][name] for name in layers}
    if isinstance(start, Mapping):
        check_names("start", start, layers)
        thresholds |= start
    elif start is not None:
        thresholds = dict.fromkeys(layers, start)
    return Parameters.of(names, thresholds=thresholds, default=own)


def _within(
    first: Parameters,
    bounds: Any,
    layers: tuple[str, ...],
    lower: Mapping[str, float],
    upper: Mapping[str, float],
    is_given: bool,
) -> Parameters:
    """Move the first thresholds into bounds that were asked for."""
    thresholds = dict(first.thresholds)
    for name in layers:
        if isinstance(bounds, Mapping) and name not in bounds:
            continue
        inside = min(max(thresholds[name], lower[name]), upper[name])
        if is_given and inside != thresholds[name]:
            message = (
                f"start of {name} is {thresholds[name]:g}, outside its bounds "
                f"{lower[name]:g} to {upper[name]:g}"
            )
            raise InputError(message)
        thresholds[name] = inside
    return replace(first, thresholds=thresholds)


def _check(tuner: Tuner, before: Parameters, after: Parameters) -> Check:
    """Compare two sets of parameters on the tuner's pictures."""
    found = dict(
        tuner.simulator.run_many(
            tuner.pictures.images,
            [asdict(before), asdict(after)],
            seed=tuner.seed,
            executor=tuner.executor,
            progress=False,
        )
    )
    labels = tuner.pictures.labels
    return Check(
        len(labels),
        float(tuner.objective(found[0], tuner.target)),
        float(tuner.objective(found[1], tuner.target)),
        found[0].accuracy(labels),
        found[1].accuracy(labels),
        float((tuner.target.predictions == labels).mean()),
    )
