"""What a threshold setting found."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.tuning.methods import TUNABLE

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Check", "TuningResult"]


@dataclass(frozen=True)
class Check:
    """
    What the network yields on some pictures, before and after.

    Attributes
    ----------
    n_images : int
        Number of pictures.
    value_before, value : float
        Objective with the network's own parameters, and with the chosen ones.
    accuracy_before, accuracy : float
        Share of pictures that are classified correctly, before and after.
    cnn_accuracy : float
        The CNN's share.
    """

    n_images: int
    value_before: float
    value: float
    accuracy_before: float
    accuracy: float
    cnn_accuracy: float


@dataclass(frozen=True)
class TuningResult:
    """
    What a threshold setting found.

    Attributes
    ----------
    parameters : Parameters
        The chosen parameters. ``simulator.run(images, **result.arguments)`` uses them.
    history : pandas.DataFrame
        A row for each candidate: ``round``, ``note``, ``n_images``, ``value`` (the
        objective), ``criterion`` (what the method went by), ``accuracy``, ``best`` (the
        largest value so far with as many pictures), ``seconds`` (from the begin of its
        round), and its parameters.
    tuning, held_out : Check
        Figures on the pictures that were tuned on, and on those that were not.
        ``held_out`` is None if there are none.
    settings : dict
        Arguments of the tuning, and fingerprints of the network and the pictures.
    """

    parameters: Parameters
    history: "pd.DataFrame"
    tuning: Check
    held_out: Check | None
    settings: dict[str, Any]

    @property
    def thresholds(self) -> dict[str, float]:
        """The chosen thresholds."""
        return dict(self.parameters.thresholds)

    @property
    def value(self) -> float:
        """The objective on the pictures that were tuned on."""
        return self.tuning.value

    @property
    def arguments(self) -> dict[str, Any]:
        """The chosen parameters as arguments of `Simulator.run`."""
        return asdict(self.parameters)

    def __str__(self) -> str:
        chosen = ", ".join(f"{k} {v:.4g}" for k, v in self.thresholds.items())
        lines = [
            f"{self.settings['method']}, {self.settings['objective']}: "
            f"{len(self.history)} candidates",
            f"thresholds: {chosen}",
        ]
        for name, check in (("tuning", self.tuning), ("held-out", self.held_out)):
            if check is not None:
                lines.append(
                    f"{check.n_images} {name} pictures: objective "
                    f"{check.value_before:.4f} -> {check.value:.4f}, accuracy "
                    f"{check.accuracy_before:.1%} -> {check.accuracy:.1%} "
                    f"(CNN {check.cnn_accuracy:.1%})"
                )
        return "\n".join(lines)


def _history_frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    table = []
    best: dict[int, float] = {}
    for row in rows:
        flat = {key: value for key, value in row.items() if key != "parameters"}
        # Values of different numbers of pictures can't be compared.
        kind = row["n_images"]
        best[kind] = max(best.get(kind, -np.inf), row["value"])
        flat["best"] = best[kind]
        for what in TUNABLE:
            for layer, value in row["parameters"][what].items():
                flat[f"{what}.{layer}"] = value
        table.append(flat)
    frame = pd.DataFrame(table)
    if len(frame) > 1:
        same = [
            column
            for column in frame.columns
            if column.startswith(("v_min.", "v_init.", "leak."))
            and frame[column].nunique() == 1
        ]
        frame = frame.drop(columns=same)
    return frame
