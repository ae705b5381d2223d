"""
The same CNN in other simulators.

Each function makes a callable that shows a batch of images for all steps and returns
a score for each class. Poisson spikes are drawn inside of it, as in our program.
"""

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import nn

from benchmarks.networks import Settings, Workload

__all__ = ["COMPETITORS", "spikingjelly_steps", "torch_loop"]

Simulate = Callable[[torch.Tensor], torch.Tensor]


def torch_loop(workload: Workload, settings: Settings) -> Simulate:
    """
    Write our dynamics as a loop over the steps, with torch's layers as synapses.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics.

    Returns
    -------
    callable
        Scores are spike counts. With current encoding they are those of our program,
        up to rounding.
    """
    populations: list[nn.Module] = []
    waiting: list[nn.Module] = []
    for module in workload.cnn:
        if isinstance(module, nn.Conv2d | nn.Linear | nn.AvgPool2d):
            populations.append(nn.Sequential(*waiting, module))
            waiting = []
        elif isinstance(module, nn.Flatten):
            waiting.append(module)
    snn = workload.convert(settings)
    thresholds = list(snn.thresholds.values())
    shapes = [layer.shape for layer in snn.layers]
    poisson = settings.encoding == "poisson"

    def simulate(images: torch.Tensor) -> torch.Tensor:
        drive = None if poisson else populations[0](images)
        state = [
            images.new_full((len(images), *shape), settings.v_init * threshold)
            for shape, threshold in zip(shapes, thresholds, strict=True)
        ]
        counts = torch.zeros_like(state[-1])
        for _ in range(settings.n_steps):
            spikes = []
            if poisson:
                spikes.append((torch.rand_like(images) < images).float())
            elif drive is not None:
                state[0] += drive
            for v, threshold in zip(state, thresholds, strict=True):
                fired = (v >= threshold).float()
                if settings.reset == "zero":
                    v *= 1 - fired
                else:
                    v -= threshold * fired
                if settings.v_min > -torch.inf:
                    v.clamp_(min=settings.v_min)
                spikes.append(fired)
            counts += spikes.pop()
            targets = range(len(state)) if poisson else range(1, len(state))
            for target, before in zip(targets, spikes, strict=True):
                state[target] += populations[target](before)
        return counts

    return simulate


def _spikingjelly(workload: Workload, settings: Settings) -> nn.Module:
    from spikingjelly.activation_based import ann2snn, neuron

    def make_neuron(scale: float) -> nn.Module:
        return neuron.IFNode(v_reset=0.0 if settings.reset == "zero" else None)

    # The hooks average over batches: one batch of all calibration images.
    recipe = ann2snn.RateCodingRecipe(
        [torch.from_numpy(workload.calibration)],
        mode="99.9%",
        neuron_factory=make_neuron,
    )
    with redirect_stderr(StringIO()):  # its progress bar
        network = ann2snn.FXConverter(recipe, device="cpu").convert(workload.cnn)
    return network.eval()


def _spikingjelly_start(network: nn.Module, settings: Settings) -> None:
    from spikingjelly.activation_based import functional, neuron

    functional.reset_net(network)
    if settings.v_init:
        for module in network.modules():
            if isinstance(module, neuron.IFNode):
                module.v = settings.v_init * module.v_threshold


def spikingjelly_steps(workload: Workload, settings: Settings) -> Simulate:
    """
    Convert with SpikingJelly, and go through all layers step by step.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics. There is no floor.

    Returns
    -------
    callable
        Scores are sums of the last layer's input: it has no neurons.
    """
    network = _spikingjelly(workload, settings)

    def simulate(images: torch.Tensor) -> torch.Tensor:
        _spikingjelly_start(network, settings)
        total: Any = 0
        for _ in range(settings.n_steps):
            x = images
            if settings.encoding == "poisson":
                x = (torch.rand_like(images) < images).float()
            total = total + network(x)
        return total

    return simulate


def spikingjelly_layers(workload: Workload, settings: Settings) -> Simulate:
    """
    Convert with SpikingJelly, and go through all steps layer by layer.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics. There is no floor.

    Returns
    -------
    callable
        Scores are sums of the last layer's input: it has no neurons.
    """
    from spikingjelly.activation_based import functional

    network = _spikingjelly(workload, settings)
    functional.set_step_mode(network, "m")

    def simulate(images: torch.Tensor) -> torch.Tensor:
        _spikingjelly_start(network, settings)
        x = images.expand(settings.n_steps, *images.shape)
        if settings.encoding == "poisson":
            x = (torch.rand(x.shape) < x).float()
        return network(x).sum(0)

    return simulate


def sinabs_layers(workload: Workload, settings: Settings) -> Simulate:
    """
    Convert with sinabs, which goes through all steps layer by layer.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics. Pooling has no neurons: thresholds of two layers are one.

    Returns
    -------
    callable
        Scores are spike counts.
    """
    import sinabs.layers as sl
    from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike
    from sinabs.from_torch import from_model

    reset = MembraneReset() if settings.reset == "zero" else MembraneSubtract()
    network = from_model(
        workload.cnn,
        spike_fn=SingleSpike,
        reset_fn=reset,
        min_v_mem=None if settings.v_min == -torch.inf else settings.v_min,
        num_timesteps=settings.n_steps,
        add_spiking_output=True,
    )
    # Behind an average without neurons comes the product of both thresholds.
    thresholds, product = [], 1.0
    modules = [
        m for m in workload.cnn if isinstance(m, nn.Conv2d | nn.Linear | nn.AvgPool2d)
    ]
    values = workload.convert(settings).thresholds.values()
    for module, threshold in zip(modules, values, strict=True):
        product *= threshold
        if not isinstance(module, nn.AvgPool2d):
            thresholds.append(product)
            product = 1.0
    layers = [m for m in network.spiking_model.modules() if isinstance(m, sl.IAF)]
    for layer, threshold in zip(layers, thresholds, strict=True):
        layer.spike_threshold = nn.Parameter(torch.tensor(threshold), False)

    def simulate(images: torch.Tensor) -> torch.Tensor:
        n = len(images)
        x = images[:, None].expand(n, settings.n_steps, *images.shape[1:])
        if settings.encoding == "poisson":
            x = (torch.rand(x.shape) < x).float()
        x = x.reshape(n * settings.n_steps, *images.shape[1:])
        network.reset_states()
        for layer in layers:
            # Another batch size would carry potentials of the last batch over.
            if layer.v_mem.shape[:1] not in ((0,), (n,)):
                layer.v_mem = torch.zeros(0)
            if layer.v_mem.numel():
                layer.v_mem.fill_(settings.v_init * float(layer.spike_threshold))
        return network(x).reshape(n, settings.n_steps, -1).sum(1)

    return simulate


#: Name -> how to make it, and batch sizes that are tried. Going layer by layer keeps
#: all steps in memory.
COMPETITORS: dict[str, list[tuple[Any, tuple[int, ...]]]] = {
    "torch loop": [(torch_loop, (1, 4, 16, 50))],
    "SpikingJelly": [
        (spikingjelly_steps, (1, 4, 16, 50)),
        (spikingjelly_layers, (1, 4)),
    ],
    "sinabs": [(sinabs_layers, (1, 2, 4, 8))],
}
