"""What a program run costs at all, and what each image adds."""

from collections.abc import Callable
from typing import Any

from cnn2snn_brian import SimulationResult, Simulator

__all__ = ["events_added", "fixed_and_added", "show"]


def show(simulator: Simulator, images: Any) -> Callable[[], Any]:
    """
    Prepare a run in one worker, as one run of the program.

    Parameters
    ----------
    simulator : Simulator
        The compiled network.
    images : ndarray of float32, shape (n_images, channels, height, width)
        What to show.

    Returns
    -------
    callable
        Runs the images and returns the result.
    """
    return lambda: simulator.run(
        images, executor=1, shard_size=len(images), progress=False
    )


def fixed_and_added(
    one: list[float], many: list[float], n: int
) -> tuple[list[float], list[float]]:
    """
    Split times into a fixed cost of a run and what each image adds.

    Parameters
    ----------
    one, many : list of float
        Seconds for 1 and for `n` images, by round.
    n : int
        At least 2.

    Returns
    -------
    fixed, added : list of float
        Milliseconds, by round.
    """
    added = [1e3 * (b - a) / (n - 1) for a, b in zip(one, many, strict=True)]
    fixed = [1e3 * a - each for a, each in zip(one, added, strict=True)]
    return fixed, added


def events_added(result: SimulationResult) -> float:
    """
    Count synaptic events of the images that `fixed_and_added` splits off.

    Parameters
    ----------
    result : SimulationResult
        Of at least 2 images.

    Returns
    -------
    float
        Events an image, without the first one.
    """
    return float(sum(events[1:].mean() for events in result.events.values()))
