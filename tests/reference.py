"""References without the package's code: torch for layers, numpy for spikes."""

import numpy as np
import torch
from torch import nn


def chain(*stages: nn.Module) -> nn.Sequential:
    """Make a CNN of linear stages with ReLU between them."""
    parts = []
    for stage in stages:
        parts += [stage, nn.ReLU()]
    return nn.Sequential(*parts[:-1]).eval()


def randomize(module: nn.Module, seed: int) -> nn.Module:
    """Draw weights that are multiples of 1/64, whose sums are exact in float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                torch.randint(-40, 64, parameter.shape, generator=generator) / 64
            )
    return module


def stages(module: nn.Sequential) -> list[nn.Module]:
    """Linear parts of a chain; a Flatten belongs to the Linear behind it."""
    found, flatten = [], []
    for child in module:
        if isinstance(child, nn.Flatten):
            flatten = [child]
        elif not isinstance(child, nn.ReLU):
            found.append(nn.Sequential(*flatten, child))
            flatten = []
    return found


def numpy_spikes(
    module: nn.Sequential,
    input_spikes: np.ndarray | None,
    n_steps: int,
    *,
    image: np.ndarray | None = None,
    thresholds: list[float],
    v_min: float = 0.0,
    leak: float | list[float] = 0.0,
    v_init: float = 0.0,
    reset: str = "zero",
    c: float = 1.0,
    potentials: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """
    Spikes of each layer, (n_steps, *shape), by the rules of docs/dynamics.md.

    Potentials at the end of each step are put into `potentials`, of the same shapes.

    `input_spikes` is (n_steps, channels, height, width); without it, `image` is the
    constant current of the first layer.
    """

    def through(stage, x):
        with torch.no_grad():
            return stage(torch.tensor(x[None], dtype=torch.float32)).numpy()[0]

    parts = stages(module)
    x = np.zeros_like(input_spikes[0] if image is None else image, dtype=np.float32)
    biases, scales = [], np.cumprod([c, *(1 / th for th in thresholds)])
    for part in parts:
        biases.append(through(part, x))
        x = np.zeros_like(biases[-1])
    constants = [b * scale for b, scale in zip(biases, scales, strict=False)]
    if image is not None:
        constants[0] = through(parts[0], image) * scales[0]
    v = [np.full_like(b, v_init * th) for b, th in zip(biases, thresholds, strict=True)]
    found = [np.zeros((n_steps, *b.shape), bool) for b in biases]
    ends = [np.zeros(spikes.shape, np.float32) for spikes in found]
    if potentials is not None:
        potentials += ends
    leaks = np.broadcast_to(np.float32(leak), len(parts))
    for t in range(n_steps):
        for i, th in enumerate(thresholds):
            v[i] = v[i] + leaks[i] + constants[i]
            spike = v[i] >= th
            after = np.zeros_like(v[i]) if reset == "zero" else v[i] - th
            v[i] = np.where(spike, after, np.maximum(v[i], np.float32(v_min)))
            found[i][t] = spike
        for i, part in enumerate(parts):
            if i == 0 and image is not None:
                continue
            before = input_spikes[t] if i == 0 else found[i - 1][t]
            v[i] = v[i] + (through(part, before.astype(np.float32)) - biases[i])
        for end, now in zip(ends, v, strict=True):
            end[t] = now
    return found


def model_spikes(
    module: nn.Sequential,
    input_spikes: np.ndarray,
    *,
    thresholds: list[float],
    tau: float = np.inf,
    refractory: int = 0,
    delay: int = 0,
    conductances: tuple[float, float, float, float] | None = None,
    dead: dict[int, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """
    Spikes of each layer for other models of neurons, in double precision.

    Times are in steps. `conductances` are tau_e, tau_i and the reversal potentials as
    shares of the threshold; `dead` are the silenced neurons of layers, by index.
    """
    parts, dead = stages(module.double()), dead or {}

    def through(stage, x, keep):
        linear = stage[-1]
        weight = linear.weight.detach().clone()
        with torch.no_grad():
            linear.weight.copy_(torch.where(keep(weight), weight, 0.0))
            y = stage(torch.tensor(x[None], dtype=torch.float64)).numpy()[0]
            linear.weight.copy_(weight)
        return y

    x, shapes = input_spikes[0].astype(float), []
    for part in parts:
        x = through(part, x, lambda w: w == w)
        shapes.append(x.shape)
    v, g_e, g_i = ([np.zeros(shape) for shape in shapes] for _ in range(3))
    last = [np.full(shape, -(10**6)) for shape in shapes]
    n_steps = len(input_spikes)
    found = [np.zeros((n_steps, *shape), bool) for shape in shapes]
    for t in range(n_steps):
        listening = []
        for i, th in enumerate(thresholds):
            active = (t - last[i]) >= refractory
            if conductances is None:
                moved = v[i] * np.exp(-1 / tau)
            else:
                tau_e, tau_i, e, inhibitory = conductances
                slope = (
                    -1 / tau
                    - g_e[i] / (tau_e * e * th)
                    + g_i[i] / (tau_i * inhibitory * th)
                )
                drive = g_e[i] / tau_e - g_i[i] / tau_i
                moved = v[i] * np.exp(slope) + drive / slope * np.expm1(slope)
                g_e[i], g_i[i] = (
                    g_e[i] * np.exp(-1 / tau_e),
                    g_i[i] * np.exp(-1 / tau_i),
                )
            v[i] = np.where(active, moved, v[i])
            spike = (v[i] >= th) & active
            spike &= ~dead.get(i, np.zeros(shapes[i], bool))
            last[i] = np.where(spike, t, last[i])
            v[i] = np.where(spike, 0, np.maximum(v[i], 0))
            v[i] = np.where(dead.get(i, False), 0, v[i])
            found[i][t] = spike
            listening.append(active & ~spike if refractory else np.ones_like(active))
        for i, part in enumerate(parts):
            if t < delay:
                continue
            before = (input_spikes if i == 0 else found[i - 1])[t - delay].astype(float)
            if conductances is None:
                drive = through(part, before, lambda w: w == w)
                v[i] = np.where(listening[i], v[i] + drive, v[i])
            else:
                g_e[i] = g_e[i] + through(part, before, lambda w: w > 0)
                g_i[i] = g_i[i] - through(part, before, lambda w: w < 0)
    return found


def two_layers() -> nn.Sequential:
    """Make a small CNN: (2, 7, 6) -> conv1 (3, 4, 5) -> ip1 4."""
    module = chain(
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), bias=False),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 5 * 3, 4, bias=False)),
    )
    return randomize(nn.Sequential(module[0], module[1], *module[2]), seed=1)


def raster(result, layer, image):
    """Recorded spikes as an array (n_steps, *shape)."""
    spikes = np.zeros((result.n_steps, *result.shapes[layer]), bool)
    trains = result.spikes(layer, image)
    spikes[(np.rint(trains.t / result.dt_s).astype(int), *trains.position)] = True
    return spikes
