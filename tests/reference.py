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
    Spikes of each layer, (n_steps, *shape), by the rules of design.md.

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
