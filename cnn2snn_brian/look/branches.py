"""Branches of a CNN: what arrives on each of them, beside what the CNN computes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.gains import activations_of_spikes
from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.layers.joined import parts
from cnn2snn_brian.layers.stack import Layers
from cnn2snn_brian.spikes.correlation import Correlation

if TYPE_CHECKING:
    import pandas

__all__ = ["Branches"]


class Branches:
    """
    Sums over images of what arrives on the branches of a network.

    Parameters
    ----------
    layers : Layers
        The layers.
    parameters : Parameters
        What the neurons ran with.
    """

    def __init__(self, layers: Layers, parameters: Parameters) -> None:
        self.layers = layers
        self.worth = activations_of_spikes(layers, parameters)
        joins = [layer for layer in layers if len(parts(layer)) > 1]
        self.parts = {
            (layer.name, part.inputs[0], part.name): part
            for layer in joins
            for part in parts(layer)
        }
        self.correlations = {key: Correlation() for key in self.parts}
        self.sizes = dict.fromkeys(self.parts, 0.0)

    def add(
        self,
        activations: Mapping[str, npt.NDArray[Any]],
        counts: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        """
        Add some images.

        Parameters
        ----------
        activations : dict of str to ndarray of float, shape ``(n, *shape)``
            What the CNN computes, the image included.
        counts : dict of str to ndarray of int, shape ``(n, *shape)``
            Spikes of every population.
        """
        for (layer, source, name), part in self.parts.items():
            if source not in counts:
                continue
            wanted = part.drive(activations[source].astype(np.float32))
            spikes = (counts[source] * self.worth[source]).astype(np.float32)
            key = layer, source, name
            self.correlations[key].add(part.drive(spikes), wanted)
            self.sizes[key] += float(np.abs(wanted).sum(dtype=float))

    def table(self) -> "pandas.DataFrame | None":
        """
        Give what was found.

        Returns
        -------
        pandas.DataFrame or None
            A row for each branch, see `Diagnosis`; None in a chain.
        """
        import pandas as pd

        if not self.parts:
            return None
        totals: dict[str, float] = {}
        for (layer, _, _), size in self.sizes.items():
            totals[layer] = totals.get(layer, 0.0) + size
        return pd.DataFrame(
            [
                {
                    "layer": key[0],
                    "reads": key[1],
                    "correlation": found.value,
                    "share": self.sizes[key] / totals[key[0]]
                    if totals[key[0]]
                    else 0.0,
                }
                for key, found in self.correlations.items()
            ]
        ).set_index(["layer", "reads"])

    def said_of(self, layer: str) -> str:
        """
        Say on which branch a layer is, or which of its branches is worst.

        Parameters
        ----------
        layer : str
            Name of the layer.

        Returns
        -------
        str
            A sentence behind a space; empty where there are no branches.
        """
        own = {
            source: found.value
            for (name, source, _), found in self.correlations.items()
            if name == layer
        }
        if own:
            worst = min(own, key=lambda source: own[source])
            return (
                f" Of what it reads, the branch from {worst} is furthest from the CNN "
                f"(correlation {own[worst]:.3f})."
            )
        name = layer
        while True:
            readers = [other for other in self.layers if name in other.inputs]
            if len(readers) != 1:
                return ""
            (reader,) = readers
            if len(reader.inputs) > 1:
                others = [other for other in reader.inputs if other != name]
                return (
                    f" It is on the branch through {name} into {reader.name}, beside "
                    f"{', '.join(others)}."
                )
            name = reader.name
