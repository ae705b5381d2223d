"""Images per second at equal accuracy: each simulator with the steps that it needs."""

import pickle
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from brian2 import ms

from benchmarks.child import OURS, Child, Task
from benchmarks.competitors import NORMALIZATIONS, SCORES
from benchmarks.measure import Summary, Table, cores, ratios, rounds
from benchmarks.networks import AVX2, FEW_STEPS, Options, Settings, Workload
from benchmarks.simulators import available
from cnn2snn_brian import SpikingNetwork, calibrate, data, models, train
from cnn2snn_brian.data import LabelledImages

__all__ = ["equal_accuracy"]

#: Share of the CNN's accuracy that is asked for.
GOAL = 0.99
#: Nets, and presets of ours: in resnet20, plain neurons need tens of steps
#: (`deep_nets`).
NETS = {"cifar10_quick_adjusted": ("few-steps", "bursts"), "resnet20": ("bursts",)}
STEPS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
#: The most steps of ours that are tried, by preset.
PRESETS = {"few-steps": 32, "bursts": 8}
#: The others are first run for few steps, then for more.
LIMITS = (32, 64, 256)
#: Training images of a class: thresholds and our calibration come from them.
PER_CLASS = 30
#: Test images of the others, whose search takes hours with more.
N_THEIRS = 1000
#: Test images of a batch while accuracies are measured.
BATCH = 20
N_CORES = 2
#: Images of a call of ours.
AT_ONCE = 1000


@dataclass(frozen=True)
class _Candidate:
    """
    A simulator with a number of steps.

    Attributes
    ----------
    settings : Settings
        What it is run with.
    accuracy, share : float
        On the test images, and as a share of the CNN's.
    how : str
        Its settings, for the table.
    arguments : dict of str to object
        Calibrated parameters, ours only.
    """

    settings: Settings
    accuracy: float
    share: float
    how: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _unit(images: Any) -> Any:
    return images.astype(np.float32) / 255


def _ours(workload: Workload, labels: Any, truth: float, preset: str) -> _Candidate:
    """Find the fewest steps that are enough, calibrated anew for each number."""
    snn = workload.convert(Settings(preset=preset))
    tried: dict[int, _Candidate] = {}

    def share(n_steps: int) -> float:
        settings = Settings(n_steps, preset=preset)
        tried[n_steps] = _calibrated(snn, workload, labels, settings, truth)
        return tried[n_steps].share

    # By halves, as if more steps were always better: a calibration takes its time.
    steps = [n for n in STEPS if n <= PRESETS[preset]]
    fewest = steps[min(bisect_left(steps, GOAL, key=share), len(steps) - 1)]
    if fewest not in tried:
        share(fewest)
    return tried[fewest]


def _calibrated(
    snn: SpikingNetwork,
    workload: Workload,
    labels: Any,
    settings: Settings,
    truth: float,
) -> _Candidate:
    with snn.compile(settings.n_steps * ms) as simulator:
        found = calibrate(simulator, workload.calibration, progress=False)
        result = simulator.run(
            workload.images, executor=N_CORES, progress=False, **found.arguments
        )
    accuracy, how = result.accuracy(labels), f"preset {settings.preset}, calibrated"
    return _Candidate(settings, accuracy, accuracy / truth, how, found.arguments)


def _accuracies(
    name: str, workload: Workload, labels: Any, settings: Settings
) -> dict[int, float]:
    """Give the accuracy after each number of steps, all from one simulation."""
    simulate = SCORES[name](workload, settings)
    steps = [n for n in STEPS if n <= settings.n_steps]
    right = np.zeros(len(steps), dtype=int)
    images = torch.from_numpy(workload.images).split(BATCH)
    with torch.inference_mode():
        for batch, truth in zip(
            images, torch.from_numpy(labels).split(BATCH), strict=True
        ):
            classes = simulate(batch)[[n - 1 for n in steps]].argmax(-1)
            right += (classes == truth).sum(1).numpy()
    return {n: int(k) / len(labels) for n, k in zip(steps, right, strict=True)}


def _first(accuracies: Mapping[int, float], goal: float) -> tuple[int, float]:
    """Find the smallest number of steps that is good enough; the largest if none is."""
    for n_steps, accuracy in accuracies.items():
        if accuracy >= goal:
            return n_steps, accuracy
    return max(accuracies), accuracies[max(accuracies)]


def _theirs(name: str, workload: Workload, test: LabelledImages) -> _Candidate:
    """Choose the normalization by a part of the test images, then the steps by all."""
    n, labels = max(1, len(test) // 10), test.labels
    truth = train.accuracy(workload.cnn, test)
    goal, trial_goal = GOAL * truth, GOAL * train.accuracy(workload.cnn, test[:n])
    part = replace(workload, images=workload.images[:n])

    def cost(normalization: str) -> tuple[int, float]:
        settings = replace(FEW_STEPS, n_steps=LIMITS[0], normalization=normalization)
        found = _accuracies(name, part, labels[:n], settings)
        n_steps, accuracy = _first(found, trial_goal)
        # Behind those that are good enough come those that are not, by accuracy.
        return (n_steps if accuracy >= trial_goal else LIMITS[0] + 1, -accuracy)

    normalization = min(NORMALIZATIONS[name], key=cost)
    for limit in LIMITS:
        settings = replace(FEW_STEPS, n_steps=limit, normalization=normalization)
        accuracies = _accuracies(name, workload, labels, settings)
        n_steps, accuracy = _first(accuracies, goal)
        if accuracy >= goal:
            break
    settings = replace(settings, n_steps=n_steps)
    return _Candidate(settings, accuracy, accuracy / truth, normalization)


def _searched(
    options: Options, what: str, search: Callable[[], _Candidate]
) -> _Candidate:
    """Search, or take what an earlier run found: it takes long."""
    assert options.out is not None
    path = options.out / f"equal_accuracy_{what}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]
    found = search()
    path.write_bytes(pickle.dumps(found))
    return found


def equal_accuracy(
    options: Options, net: str = "cifar10_quick_adjusted"
) -> list[Table]:
    """
    Compare at 99 % of the CNN's accuracy.

    Parameters
    ----------
    options : Options
        Number of rounds and images, the data, and the number of test images.
    net : str
        A key of `NETS`.

    Returns
    -------
    list of Table
        One, without rows if there are no data: accuracies need labels.
    """
    reason = ""
    if options.data is None:
        reason = "accuracies need labelled images, see --data"
    elif cores() and len(cores()) < N_CORES:
        reason = f"there are fewer than {N_CORES} cores"
    if reason:
        table = Table(
            "equal_accuracy", "Equal accuracy", notes=[f"Left out: {reason}."]
        )
        return [table]
    return [_of_net(net, options)]


def _of_net(net: str, options: Options) -> Table:
    table = Table(f"equal_accuracy_{net}", f"{net} at {GOAL:.0%} of the CNN's accuracy")
    assert options.data is not None
    cnn, card = models.pretrained(net)
    given = (options.data, card.input_shape)
    training = data.load_training_images(*given, classes=card.classes)
    test = data.load_test_images(*given, classes=card.classes)
    # Mixed, so that the first ones are of all classes.
    test = test[np.random.default_rng(0).permutation(len(test))[: options.n_test]]
    calibration = _unit(training.per_class(PER_CLASS, seed=0).images)
    workload = Workload(cnn, _unit(test.images), calibration)
    truth = train.accuracy(cnn, test)
    part = test[:N_THEIRS]

    names, missing = available()
    shown = []
    for preset in NETS[net]:
        search = partial(_ours, workload, test.labels, truth, preset)
        shown.append((OURS, _searched(options, f"{net}_{preset}", search)))
    (_, first), *_ = reversed(shown)
    for name in names:
        if name in SCORES:
            own = replace(workload, images=_unit(part.images))
            search = partial(_theirs, name, own, part)
            try:
                candidate = _searched(options, f"{net}_{name}", search)
            except Exception as error:
                table.notes.append(f"{name} does not convert {net}: {error}")
                continue
            shown.append((name, candidate))

    without = replace(first, settings=replace(first.settings, processor=AVX2))
    shown.append((f"{OURS}, {AVX2}", without))
    # A call of ours has more images: it is over before theirs have begun.
    n_of = {
        index: AT_ONCE if name.startswith(OURS) else options.n_images
        for index, (name, _) in enumerate(shown)
    }
    with ExitStack() as stack:
        children = {
            index: stack.enter_context(
                Child(
                    Task(
                        OURS if name.startswith(OURS) else name,
                        replace(workload, images=workload.images[: n_of[index]]),
                        candidate.settings,
                        N_CORES,
                        N_CORES,
                        candidate.arguments,
                    )
                )
            )
            for index, (name, candidate) in enumerate(shown)
        }
        actions = {str(index): child.run for index, child in children.items()}
        rounds(actions, 1)
        found = rounds(actions, options.repeats)
        seconds = {
            key: [took / min(n_of[int(key)], len(test)) for took in times]
            for key, times in found.items()
        }
        ours = seconds[str(next(i for i, (_, c) in enumerate(shown) if c is first))]
        for index, (name, candidate) in enumerate(shown):
            times = seconds[str(index)]
            about = children[index].about
            table.rows.append(
                {
                    "simulator": name,
                    "T": candidate.settings.n_steps,
                    "accuracy": f"{candidate.accuracy:.2%}",
                    "share of the CNN's": f"{candidate.share:.2%}",
                    "reached": "yes" if candidate.share >= GOAL else "no",
                    "images per second": Summary.of([1 / s for s in times]),
                    "times ours": ratios(times, ours),
                    "settings": candidate.how,
                    "mode": about["mode"],
                    "batch size": about["batch size"],
                }
            )
    table.notes += [
        *missing,
        f"The CNN that ships with the package has {truth:.2%} on {len(test)} test "
        f"images; accuracies of the others are of the first {len(part)} of these, and "
        f"so is their share. 'reached' says whether it is {GOAL:.1%}. Speed is "
        f"that of {options.n_images} of these images (ours: of {AT_ONCE}), on "
        f"{N_CORES} cores.",
        f"T is the smallest of {', '.join(map(str, STEPS))} that is good enough, for "
        "each simulator by itself, or the largest if none is. 'times ours', the ratio "
        "of the times by round, is to ours in bursts.",
        "All get images as currents, reset by subtraction and no floor; spikes cross "
        "all layers within a step, and a neuron sends at most one in a step, but for "
        "ours in bursts. "
        f"{len(calibration)} training images set the thresholds.",
        f"{OURS}: thresholds, leaks and starting potentials by `calibrate`, anew for "
        "each T. Classes are by "
        "spike counts, equal ones by potential.",
        "SpikingJelly: 'settings' is the mode of its conversion that needs the fewest "
        f"steps on a tenth of the test images, of {_listed('SpikingJelly')}. Classes "
        "are by the sum of the last layer's input, which has no neurons.",
        "sinabs: 'settings' is the percentile of its `normalize_weights`, chosen in "
        f"the same way, of {_listed('sinabs')}. Classes are by the sum of the last "
        "layer's input. Its default, several spikes of a neuron in a step, is not "
        "used.",
    ]
    return table


def _listed(name: str) -> str:
    return ", ".join(NORMALIZATIONS[name])
