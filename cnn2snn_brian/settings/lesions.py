"""Lesions: neurons of a layer that are silenced."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import (
    check_names,
    check_number,
    check_shape,
    check_whole,
    whole_numbers,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Shape


@dataclass(frozen=True)
class Lesion:
    """
    Neurons of a layer that never spike.

    With several conditions, neurons that fulfil all of them; without any, all neurons
    of the layer.

    Attributes
    ----------
    layer : str
        Name of the layer, or ``input``.
    fraction : float, optional
        Share of these neurons that is silenced, chosen at random: exactly the nearest
        whole number of them. Of the same seed, a larger share contains a smaller one.
    channels : sequence of int, optional
        Channels (or units of a linear layer).
    region : tuple of slice, optional
        Rows and columns, ``(slice(0, 8), slice(None))``.
    seed : int, optional
        Seed of the choice; that of the run without it.

    Raises
    ------
    InputError
        If the fraction is not in [0, 1], or the seed is negative.
    """

    layer: str
    fraction: float | None = None
    channels: Sequence[int] | None = None
    region: tuple[slice, slice] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.fraction is not None:
            check_number(f"lesion of {self.layer}: the fraction", self.fraction, 0, 1)
        if self.seed is not None:
            check_whole(f"lesion of {self.layer}: the seed", self.seed, 0)

    def mask(self, shape: Shape, seed: int = 0) -> npt.NDArray[np.bool_]:
        """
        List the silenced neurons.

        Parameters
        ----------
        shape : tuple of int
            Shape of the layer.
        seed : int
            Seed of the choice if the lesion has none.

        Returns
        -------
        ndarray of bool, shape `shape`
            True where a neuron is silenced.

        Raises
        ------
        InputError
            If there is no such channel, or the region is empty or of a linear layer.
        """
        chosen, where = np.ones(shape, bool), f"lesion of {self.layer}"
        if self.channels is not None:
            kept = whole_numbers(f"{where}: channels", self.channels, shape[0])
            chosen[np.setdiff1d(np.arange(shape[0]), kept)] = False
        if self.region is not None:
            kinds = [type(part) for part in self.region]
            if len(shape) != 3 or kinds != [slice, slice]:
                raise InputError(
                    f"{where}: the region is {self.region} of shape {shape}, expected "
                    "two slices, rows and columns of a layer that has them"
                )
            inside = np.zeros(shape, bool)
            inside[:, self.region[0], self.region[1]] = True
            if not inside.any():
                raise InputError(
                    f"{where}: the region {self.region} is empty in a layer of "
                    f"{shape[1]} rows and {shape[2]} columns"
                )
            chosen &= inside
        if self.fraction is not None:
            candidates = np.flatnonzero(chosen)
            rng = np.random.default_rng(seed if self.seed is None else self.seed)
            # The first ones of one order: shares of the same seed are nested.
            n = round(self.fraction * len(candidates))
            chosen[:] = False
            chosen.ravel()[rng.permutation(candidates)[:n]] = True
        return chosen


#: One lesion or several, or neurons by layer.
Lesions = Lesion | Iterable[Lesion] | Mapping[str, Any] | None


def lesion_masks(
    lesions: Lesions, shapes: Mapping[str, Shape], seed: int = 0
) -> dict[str, npt.NDArray[np.bool_]]:
    """List the silenced neurons of all layers."""
    if lesions is None:
        return {}
    found: dict[str, npt.NDArray[np.bool_]] = {}
    several = isinstance(lesions, Iterable) and not isinstance(lesions, str)
    given: Any = lesions.items() if isinstance(lesions, Mapping) else lesions
    item: Any
    for item in given if several else [given]:
        if isinstance(item, tuple) and len(item) == 2:
            name, mask = item[0], np.asarray(item[1])
        elif isinstance(item, Lesion):
            name, mask = item.layer, None
        else:
            layer = item if isinstance(item, str) else "conv1"
            raise InputError(
                f"lesion is {item!r}, expected a Lesion or a dict of bool arrays: "
                f"Lesion({layer!r}) silences the whole layer, Lesion({layer!r}, "
                "fraction=0.1) a tenth of it"
            )
        check_names("lesion", [name], shapes)
        if mask is None:
            mask = item.mask(shapes[name], seed)
        check_shape(f"lesion of {name}", mask, *shapes[name])
        if mask.dtype != bool:
            raise InputError(f"lesion of {name}: found {mask.dtype}, expected bool")
        found[name] = found.get(name, False) | mask
    return {name: mask for name, mask in found.items() if mask.any()}
