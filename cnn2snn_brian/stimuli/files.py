"""Read the file of a stimulus."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from brian2 import second

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import DAMAGE
from cnn2snn_brian.stimuli.base import FORMAT, Stimulus
from cnn2snn_brian.stimuli.frames import Movie, Sequence, Still
from cnn2snn_brian.stimuli.spikes import Events, SpikeTrains

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Still, Sequence, Movie, Events, SpikeTrains)
}


def load(path: str | os.PathLike[str]) -> Stimulus:
    """
    Read a stimulus that `Stimulus.save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Stimulus
        The same stimulus.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["stimulus"]))
            if head["format"] != FORMAT:
                raise ValueError(f"its format is {head['format']!r}")
            kind = _KINDS[head["kind"]]
            values = {name: file[name] for name in file.files if name != "stimulus"}
        for name, value in head["fields"].items():
            is_time = name in kind.TIMES and value is not None
            values[name] = value * second if is_time else value
        stimulus: Stimulus = kind(**values)
    except DAMAGE as error:
        raise InputError(
            f"{path}: not a saved stimulus, or damaged: {type(error).__name__}: {error}"
        ) from error
    return stimulus
