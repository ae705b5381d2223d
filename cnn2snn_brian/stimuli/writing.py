"""A stimulus as a file: arrays of numpy, and what they are."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole

__all__ = ["FORMAT", "save"]

#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian stimulus 1"


def save(stimulus: Any, path: str | os.PathLike[str]) -> None:
    """
    Write a stimulus.

    Parameters
    ----------
    stimulus : Stimulus
        The stimulus.
    path : path-like
        The file, with the suffix ``.npz``.

    Raises
    ------
    InputError
        If it has another suffix.
    FileNotFoundError
        If its folder does not exist.
    WriteError
        If the disk is full, or the like.
    """
    if Path(path).suffix != ".npz":
        message = f"{path}: the file of a stimulus has to end with .npz"
        raise InputError(message)
    arrays: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for item in fields(stimulus):
        value = getattr(stimulus, item.name)
        if isinstance(value, np.ndarray) and value.ndim:
            arrays[item.name] = value
        elif item.name in stimulus.TIMES:
            numbers[item.name] = None if value is None else float(value)
        elif item.name == "parameters":
            numbers[item.name] = {key: float(number) for key, number in value.items()}
        else:
            numbers[item.name] = value
    head = {"format": FORMAT, "kind": type(stimulus).__name__, "fields": numbers}
    with written_whole(path) as unfinished:
        np.savez_compressed(unfinished, stimulus=np.array(json.dumps(head)), **arrays)
