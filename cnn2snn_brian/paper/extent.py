"""How much of the paper's experiments is done: all of it, or a quick trial."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnn2snn_brian.description.presets import PRESETS, Preset, find_preset

__all__ = [
    "CHUNK",
    "CONTINUED",
    "FLOORS",
    "FULL",
    "LONGER_FACTOR",
    "LONG_FACTORS",
    "N_CALIBRATION",
    "PER_CLASS",
    "QUICK",
    "SWEEP_FACTORS",
    "SWEPT",
    "VARIANTS",
    "VARIANTS_EFFORT",
    "Extent",
    "setting_named",
]


def _variant(
    description: str, tune: tuple[str, ...] = ("thresholds",), **arguments: Any
) -> Preset:
    paper = PRESETS["paper"]
    arguments = {**paper.arguments, **arguments}
    return replace(paper, description=description, arguments=arguments, tune=tune)


#: Images of one step: what an interruption costs at most.
CHUNK = 500
#: How much larger the thresholds of the convolutions are where an image takes twice as
#: long: where a search begins, found by searches at 100 and 400 steps.
LONGER_FACTOR = 1.3
#: The paper tests 100 random images of each class.
PER_CLASS = 100
#: Training images of each class that the preset "few-steps" is calibrated with.
N_CALIBRATION = 30
#: The paper's setting in other forms.
VARIANTS = {
    "paper-pooled": _variant("pooling in synapses", pooling="synapses"),
    "paper-channels": _variant("a threshold for each channel", per_channel=True),
    "paper-leaks": _variant(
        "a leak for each layer, searched with the thresholds", ("thresholds", "leak")
    ),
    "paper-starts": _variant(
        "a starting potential for each layer, searched with the thresholds",
        ("thresholds", "v_init"),
    ),
    "paper-floors": _variant("floors at -0.2 data-based thresholds"),
}
#: How far below 0 a variant's floors are, in data-based thresholds.
FLOORS = {"paper-floors": 0.2}
#: A search of a variant takes this share of the images and the candidates.
VARIANTS_EFFORT = 0.5
#: These have the paper's neurons, so their search begins where the paper's ended.
CONTINUED = ("paper-leaks", "paper-starts", "paper-floors")
#: Of long images, thresholds are those of fewer steps, and of the convolutions' times
#: the best of these factors for each doubling.
LONG_FACTORS = (0.9, 1.0, 1.1, 1.2)
#: Layers whose thresholds Fig. 3 sweeps, and by which factors of the chosen one.
SWEPT = ("conv1", "conv2", "conv3")
SWEEP_FACTORS = np.geomspace(1 / 16, 16, 17)


def setting_named(name: str) -> Preset:
    """
    Find a setting of the report.

    Parameters
    ----------
    name : str
        A key of `PRESETS` or `VARIANTS`.

    Returns
    -------
    Preset
        The setting.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    return VARIANTS[name] if name in VARIANTS else find_preset(name)


@dataclass(frozen=True)
class Extent:
    """
    How much is done.

    Attributes
    ----------
    durations : tuple of int
        Numbers of steps of 1 ms that the paper's setting is tuned and tested with.
    few_steps : tuple of int
        Those of the preset "few-steps", which is calibrated for each.
    variants : tuple of int
        Those of the paper's setting in other forms, see `VARIANTS`.
    n_test : int or None
        Test images of each class; None for all.
    n_tuning, n_unseen : int
        Training images of each class that a search tunes with, and that its result
        is checked on.
    budgets : dict of int to int
        Candidates of a search by number of steps, for those from that number on.
    n_listing, listing_budget : int
        Training images of each class, and candidates, of the paper's own methods.
    n_sweep : int
        Training images of each class of Fig. 3.
    long : int
        From this number of steps on, thresholds are not searched but scaled: a search
        would take as long as all others together.
    """

    durations: tuple[int, ...]
    few_steps: tuple[int, ...]
    variants: tuple[int, ...]
    n_test: int | None
    n_tuning: int
    n_unseen: int
    budgets: dict[int, int]
    n_listing: int
    listing_budget: int
    n_sweep: int
    long: int = 800

    def budget(self, n_steps: int) -> int:
        """
        Give the number of candidates of a search.

        Parameters
        ----------
        n_steps : int
            Steps of an image.

        Returns
        -------
        int
            The number.
        """
        return self.budgets[max(least for least in self.budgets if least <= n_steps)]


FULL = Extent(
    durations=(100, 200, 400, 800),
    few_steps=(4, 8, 12),
    variants=(100, 200),
    n_test=None,
    n_tuning=40,
    n_unseen=40,
    budgets={0: 200, 400: 42},
    n_listing=4,
    listing_budget=100,
    n_sweep=20,
)
QUICK = Extent(
    durations=(50, 100),
    few_steps=(4, 8, 12),
    variants=(50,),
    n_test=10,
    n_tuning=5,
    n_unseen=5,
    budgets={0: 40},
    n_listing=1,
    listing_budget=20,
    n_sweep=2,
)
