"""The demo: scikit-learn's digits through a small CNN and through its SNN."""

from dataclasses import dataclass
from pathlib import Path

from brian2 import ms

from cnn2snn_brian import models
from cnn2snn_brian.conversion import convert
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.plots import plot_output_counts, plot_raster
from cnn2snn_brian.results.result import SimulationResult
from cnn2snn_brian.train import accuracy

__all__ = ["DemoResult", "run_demo"]

DURATION = 100 * ms
#: Picture that is drawn.
DRAWN = 0


@dataclass(frozen=True)
class DemoResult:
    """
    What the demo found.

    Attributes
    ----------
    n_test : int
        Number of test digits.
    cnn_accuracy, snn_accuracy : float
        Shares of correctly classified test digits.
    result : SimulationResult
        The simulation.
    figure : Path
        The raster, as PNG.
    """

    n_test: int
    cnn_accuracy: float
    snn_accuracy: float
    result: SimulationResult
    figure: Path


def _draw(result: SimulationResult, label: str, path: Path) -> None:
    # A figure of its own, without pyplot: no window, no state left behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    names = [name for name in result.spike_counts if name != result.output_layer]
    axes = figure.subplots(len(names) + 1, 1, sharex=True)
    for ax, name in zip(axes, names, strict=False):
        plot_raster(result, name, DRAWN, ax).set_xlabel("")
    plot_output_counts(result, DRAWN, axes[-1])
    prediction = result.predictions[DRAWN]
    figure.suptitle(f"A digit {label} as spikes; the SNN says {prediction}")
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def run_demo(figure: Path, seed: int = 0, *, progress: bool = True) -> DemoResult:
    """
    Convert the trained digits CNN and simulate all test digits.

    Parameters
    ----------
    figure : Path
        Where the raster of one digit is written, as PNG.
    seed : int
        Seed of the Poisson spikes.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    DemoResult
        Accuracies and the simulation's result.
    """
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, test.input_shape, calibration=training.images, percentile=100)
    with snn.compile(DURATION) as simulator:
        record = {name: [DRAWN] for name in simulator.populations}
        result = simulator.run(test.images, seed=seed, record=record, progress=progress)
    _draw(result, test.classes[test.labels[DRAWN]], figure)
    return DemoResult(
        len(test),
        accuracy(cnn, test),
        result.accuracy(test.labels),
        result,
        figure,
    )
