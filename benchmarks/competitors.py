"""
The same CNN in other simulators.

Each function makes a callable that shows a batch of images for all steps and returns
a score for each class. Poisson spikes are drawn inside of it, as in our program.
"""

from collections.abc import Callable
from contextlib import redirect_stderr
from copy import deepcopy
from io import StringIO
from typing import Any

import torch
from torch import nn

from benchmarks.networks import Settings, Workload

__all__ = [
    "COMPETITORS",
    "NORMALIZATIONS",
    "SCORES",
    "cnn_itself",
    "sinabs_scores",
    "snntorch_loop",
    "spikingjelly_scores",
    "spikingjelly_steps",
    "torch_loop",
]

Simulate = Callable[[torch.Tensor], torch.Tensor]


def cnn_itself(workload: Workload, settings: Settings) -> Simulate:
    """
    Classify with the CNN: what spikes cost.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        Not used.

    Returns
    -------
    callable
        Scores are the CNN's.
    """
    return workload.cnn.eval()


def _synapses(workload: Workload) -> list[nn.Module]:
    """Give what is in front of each population: a layer with weights, or a pooling."""
    populations: list[nn.Module] = []
    waiting: list[nn.Module] = []
    for module in workload.cnn:
        if isinstance(module, nn.Conv2d | nn.Linear | nn.AvgPool2d):
            populations.append(nn.Sequential(*waiting, module))
            waiting = []
        elif isinstance(module, nn.Flatten):
            waiting.append(module)
    return populations


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
    populations = _synapses(workload)
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


def snntorch_loop(workload: Workload, settings: Settings) -> Simulate:
    """
    Write the CNN with neurons of snnTorch, which has no conversion of its own.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics. There is no floor, and spikes pass all layers in one step.

    Returns
    -------
    callable
        Scores are spike counts. Thresholds are ours.
    """
    import snntorch

    populations = _synapses(workload)
    snn = workload.convert(settings)
    shapes = [layer.shape for layer in snn.layers]
    neurons = [
        snntorch.Leaky(
            beta=1.0,
            threshold=threshold,
            reset_mechanism=settings.reset,
            reset_delay=False,
        )
        for threshold in snn.thresholds.values()
    ]

    def simulate(images: torch.Tensor) -> torch.Tensor:
        potentials = [
            images.new_full((len(images), *shape), settings.v_init * neuron.threshold)
            for shape, neuron in zip(shapes, neurons, strict=True)
        ]
        counts = torch.zeros_like(potentials[-1])
        for _ in range(settings.n_steps):
            x = images
            if settings.encoding == "poisson":
                x = (torch.rand_like(images) < images).float()
            for k, (synapses, neuron) in enumerate(
                zip(populations, neurons, strict=True)
            ):
                x, potentials[k] = neuron(synapses(x), potentials[k])
            counts += x
        return counts

    return simulate


def _spikingjelly(workload: Workload, settings: Settings) -> nn.Module:
    from spikingjelly.activation_based import ann2snn, neuron

    def make_neuron(scale: float) -> nn.Module:
        return neuron.IFNode(v_reset=0.0 if settings.reset == "zero" else None)

    images = torch.from_numpy(workload.calibration)
    name = settings.normalization or "99.9%"
    recipe: Any
    if name == LOCAL:
        # Its thresholds approach their values batch by batch.
        recipe = ann2snn.LocalThresholdBalancingRecipe([*images.split(50)] * 5)
    else:
        # The hooks average over batches: one batch of all calibration images.
        recipe = ann2snn.RateCodingRecipe(
            [images],
            mode=name.removesuffix(BY_CHANNEL),
            channel_wise=name.endswith(BY_CHANNEL),
            neuron_factory=make_neuron,
        )
    with redirect_stderr(StringIO()):  # its progress bar
        network = ann2snn.FXConverter(recipe, device="cpu").convert(
            deepcopy(workload.cnn)
        )
    return network.eval()


def _spikingjelly_start(network: nn.Module, settings: Settings) -> None:
    from spikingjelly.activation_based import functional, neuron

    functional.reset_net(network)
    if settings.v_init:
        for module in network.modules():
            if isinstance(module, neuron.IFNode | neuron.HalfThresholdIFNode):
                module.v = settings.v_init * module.v_threshold


def _spikingjelly_outputs(workload: Workload, settings: Settings) -> Simulate:
    """Give the output of every step, shape (n_steps, n_images, classes)."""
    network = _spikingjelly(workload, settings)

    def simulate(images: torch.Tensor) -> torch.Tensor:
        _spikingjelly_start(network, settings)
        outputs = []
        for _ in range(settings.n_steps):
            x = images
            if settings.encoding == "poisson":
                x = (torch.rand_like(images) < images).float()
            outputs.append(network(x))
        return torch.stack(outputs)

    return simulate


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
    simulate = _spikingjelly_outputs(workload, settings)
    return lambda images: simulate(images).sum(0)


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


def spikingjelly_scores(workload: Workload, settings: Settings) -> Simulate:
    """
    Convert with SpikingJelly, and keep the scores after every step.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics. There is no floor.

    Returns
    -------
    callable
        Scores after 1, 2, ... steps, shape (n_steps, n_images, classes).
    """
    simulate = _spikingjelly_outputs(workload, settings)
    return lambda images: simulate(images).cumsum(0)


def _own_normalization(workload: Workload, percentile: float) -> nn.Sequential:
    """Scale the weights like sinabs does, in a copy."""
    from sinabs.utils import normalize_weights

    cnn = deepcopy(workload.cnn)
    relus, before, weighted = [], [], ""
    for name, module in cnn.named_children():
        if isinstance(module, nn.ReLU):
            relus.append(name)
            before.append(weighted)
        elif [*module.parameters()]:
            weighted = name
    images = torch.from_numpy(workload.calibration)
    normalize_weights(cnn, images, relus, before, percentile)
    return cnn


def _sinabs(workload: Workload, settings: Settings) -> Simulate:
    """Give the output of every step, shape (n_images, n_steps, classes)."""
    import sinabs.layers as sl
    from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike
    from sinabs.from_torch import from_model

    own = settings.normalization
    cnn = _own_normalization(workload, float(own[:-1])) if own else workload.cnn
    network = from_model(
        cnn,
        spike_fn=SingleSpike,
        reset_fn=MembraneReset() if settings.reset == "zero" else MembraneSubtract(),
        min_v_mem=None if settings.v_min == -torch.inf else settings.v_min,
        num_timesteps=settings.n_steps,
        add_spiking_output=not own,
    )
    layers = [m for m in network.spiking_model.modules() if isinstance(m, sl.IAF)]
    if not own:
        # Behind an average without neurons comes the product of both thresholds.
        thresholds, product = [], 1.0
        modules = [
            m
            for m in workload.cnn
            if isinstance(m, nn.Conv2d | nn.Linear | nn.AvgPool2d)
        ]
        values = workload.convert(settings).thresholds.values()
        for module, threshold in zip(modules, values, strict=True):
            product *= threshold
            if not isinstance(module, nn.AvgPool2d):
                thresholds.append(product)
                product = 1.0
        for layer, threshold in zip(layers, thresholds, strict=True):
            layer.spike_threshold = nn.Parameter(torch.tensor(threshold), False)

    def simulate(images: torch.Tensor) -> torch.Tensor:
        n = len(images)
        x = images[:, None].expand(n, settings.n_steps, *images.shape[1:])
        if settings.encoding == "poisson":
            x = (torch.rand(x.shape) < x).float()
        x = x.reshape(n * settings.n_steps, *images.shape[1:])
        if not layers[0].v_mem.numel():
            network(x)  # potentials have their shapes from now on
        network.reset_states()
        for layer in layers:
            start = settings.v_init * float(layer.spike_threshold)
            layer.v_mem = torch.full((n, *layer.v_mem.shape[1:]), start)
        return network(x).reshape(n, settings.n_steps, -1)

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
        Scores are spike counts; with its own normalization, sums of the last layer's
        input, which has no neurons then.
    """
    simulate = _sinabs(workload, settings)
    return lambda images: simulate(images).sum(1)


def sinabs_scores(workload: Workload, settings: Settings) -> Simulate:
    """
    Convert with sinabs, and keep the scores after every step.

    Parameters
    ----------
    workload : Workload
        The CNN.
    settings : Settings
        The dynamics.

    Returns
    -------
    callable
        Scores after 1, 2, ... steps, shape (n_steps, n_images, classes).
    """
    simulate = _sinabs(workload, settings)
    return lambda images: simulate(images).cumsum(1).movedim(1, 0)


#: SpikingJelly's names have these in them: thresholds by channel, and its balancing.
BY_CHANNEL = " by channel"
LOCAL = "local threshold balancing"

#: Name -> what a simulator offers to scale activations, the likely best first.
NORMALIZATIONS = {
    "SpikingJelly": ("99.9%", "99%", "99%" + BY_CHANNEL, "99.9%" + BY_CHANNEL, LOCAL),
    "sinabs": ("99.9%", "99%"),
}

#: Name -> how to get the scores after every step.
SCORES = {"SpikingJelly": spikingjelly_scores, "sinabs": sinabs_scores}

#: Name -> how to make it, and batch sizes that are tried. Going layer by layer keeps
#: all steps in memory.
COMPETITORS: dict[str, list[tuple[Any, tuple[int, ...]]]] = {
    "torch loop": [(torch_loop, (1, 4, 16, 50))],
    "SpikingJelly": [
        (spikingjelly_steps, (1, 4, 16, 50)),
        (spikingjelly_layers, (1, 4)),
    ],
    "sinabs": [(sinabs_layers, (1, 2, 4, 8))],
    "snnTorch": [(snntorch_loop, (1, 4, 16, 50))],
    "CNN": [(cnn_itself, (1, 4, 16, 50))],
}
