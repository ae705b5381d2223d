"""Our program against other simulators of the same CNN."""

from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec

import torch

from benchmarks.child import OURS, Child, Task
from benchmarks.competitors import COMPETITORS
from benchmarks.measure import Summary, Table, cores, ratios, rounds
from benchmarks.networks import (
    AVX2,
    FEW_STEPS,
    PAPER,
    Options,
    Settings,
    Workload,
    paper_workload,
)

__all__ = ["available", "few_steps", "simulators"]

PACKAGE_OF = {name: name.lower() for name in ("SpikingJelly", "sinabs", "snnTorch")}


def available() -> tuple[list[str], list[str]]:
    """
    Find the simulators that are installed.

    Returns
    -------
    names : list of str
        Ours and theirs.
    notes : list of str
        What was left out, for a table.
    """
    names, notes = [OURS], []
    for name in COMPETITORS:
        package = PACKAGE_OF.get(name)
        if package is None or find_spec(package) is not None:
            names.append(name)
        else:
            notes.append(f"{name} is not installed and was left out.")
    return names, notes


def _agreement(workload: Workload, classes: list[int]) -> float:
    """Share of images that get the class that the CNN gives them."""
    with torch.inference_mode():
        truth = workload.cnn.eval()(torch.from_numpy(workload.images)).argmax(1)
    return float((truth == torch.tensor(classes)).float().mean())


def _compare(options: Options, settings: Settings, table: Table) -> Table:
    workload = paper_workload(options)
    names, missing = available()
    table.notes += [*workload.notes, *missing]
    n = len(workload.images)
    for n_cores in (1, 2):
        if cores() and n_cores > len(cores()):
            table.notes.append(f"{n_cores} cores were asked, there are fewer.")
            continue
        with ExitStack() as stack:
            shown = {name: (name, settings) for name in names}
            shown[f"{OURS}, {AVX2}"] = (OURS, replace(settings, processor=AVX2))
            children = {
                name: stack.enter_context(
                    Child(Task(of, workload, own, n_cores, n_cores))
                )
                for name, (of, own) in shown.items()
            }
            actions = {name: child.run for name, child in children.items()}
            rounds(actions, 1)
            found = rounds(actions, options.repeats)
            for name, child in children.items():
                table.rows.append(
                    {
                        "cores": n_cores,
                        "simulator": name,
                        "ms per image": Summary.of([1e3 * s / n for s in found[name]]),
                        "images per second": Summary.of([n / s for s in found[name]]),
                        "times ours": ratios(found[name], found[OURS]),
                        "batch size": child.about["batch size"],
                        "mode": child.about["mode"],
                        "class of the CNN": _agreement(
                            workload, child.about["classes"]
                        ),
                    }
                )
    table.notes += [
        f"{n} images, T = {settings.n_steps}, {settings.encoding} encoding, "
        f"reset {settings.reset!r}, v_init {settings.v_init}, v_min {settings.v_min}.",
        "'times ours' is the ratio of the times, by round.",
        "The torch loop has our dynamics, with neurons for the pooling layers. "
        "SpikingJelly and sinabs have none there, and SpikingJelly has none in the "
        "last layer and no floor. snnTorch has no conversion, so its neurons get our "
        "thresholds, and no floor. In these three, spikes pass all layers in one step. "
        "'CNN' is the CNN itself in torch.",
        "'class of the CNN' is the share of images that get the CNN's class.",
    ]
    return table


def simulators(options: Options) -> list[Table]:
    """
    Compare with the paper's settings.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One.
    """
    return [_compare(options, PAPER, Table("simulators", "Simulators, T = 100"))]


def few_steps(options: Options) -> list[Table]:
    """
    Compare with images as currents, soft reset and few steps.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One.
    """
    return [
        _compare(options, FEW_STEPS, Table("few_steps", "Few steps, current encoding"))
    ]
