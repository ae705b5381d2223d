"""
Trained weights on disk: a safetensors file and, beside it, a model card (JSON).

The card says which CNN the weights belong to, what they were trained on, by which
command, and how accurate the CNN is.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from cnn2snn_brian.cnn.adjust import quantize_in_place
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole

__all__ = [
    "ModelCard",
    "is_quantized",
    "load_state",
    "load_weights",
    "read_card",
    "save_weights",
]


@dataclass(frozen=True)
class ModelCard:
    """
    What is known of trained weights.

    Attributes
    ----------
    architecture : str
        Name of the CNN, see `cnn2snn_brian.models`.
    input_shape : tuple of int
        Shape of an image, (channels, height, width).
    classes : tuple of str
        Names of the outputs.
    data : str
        Name of the training data.
    command : str
        The command that trained it.
    test_accuracy : float
        Share of correctly classified test images.
    n_test : int
        Number of test images.
    date : str
        Day of the training (ISO 8601).
    versions : dict
        Versions of the libraries used.
    quantized_steps : int, optional
        Steps of the quantized activation that the CNN has in place of ReLU (see
        `adjust`); None for ReLU.
    """

    architecture: str
    input_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    data: str
    command: str
    test_accuracy: float
    n_test: int
    date: str
    versions: dict[str, str] = field(default_factory=dict)
    quantized_steps: int | None = None


def _card_path(path: str | Path) -> Path:
    return Path(path).with_suffix(".json")


def save_weights(path: str | Path, module: nn.Module, card: ModelCard) -> None:
    """
    Write weights and model card.

    Parameters
    ----------
    path : path-like
        The file for the weights, by custom ``*.safetensors``. The card gets the same
        name with the suffix ``.json``.
    module : nn.Module
        The trained CNN.
    card : ModelCard
        What is known of it.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    WriteError
        If the disk is full, or the like.
    """
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    with written_whole(path) as unfinished:
        save_file(state, unfinished)
    with written_whole(_card_path(path)) as unfinished:
        unfinished.write_text(json.dumps(asdict(card), indent=2) + "\n")


def read_card(path: str | Path) -> ModelCard:
    """
    Read the model card of a weights file.

    Parameters
    ----------
    path : path-like
        The weights file.

    Returns
    -------
    ModelCard
        The card beside it.

    Raises
    ------
    InputError
        If the card is missing or damaged.
    """
    card_path = _card_path(path)
    try:
        values = json.loads(card_path.read_text())
        values["input_shape"] = tuple(values["input_shape"])
        values["classes"] = tuple(values["classes"])
        return ModelCard(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{card_path}: not a readable model card: {error}"
        raise InputError(message) from error


def is_quantized(module: nn.Module) -> bool:
    """
    Say whether a CNN has quantized activations.

    Parameters
    ----------
    module : nn.Module
        The CNN.

    Returns
    -------
    bool
        Whether it has any.
    """
    return any(isinstance(child, ClipFloorShift) for child in module.modules())


def load_weights(module: nn.Module, path: str | Path) -> ModelCard:
    """
    Load weights into a CNN.

    Parameters
    ----------
    module : nn.Module
        The CNN; its weights are overwritten. If the card says that the weights are
        those of a quantized CNN, and this one is not, it is made one (see `adjust`).
    path : path-like
        A safetensors file with its card beside it.

    Returns
    -------
    ModelCard
        The card of the weights.

    Raises
    ------
    InputError
        If the file is missing or damaged, or its weights don't fit the CNN.
    """
    if not Path(path).is_file():
        message = f"{path}: there is no such file"
        raise InputError(message)
    card = read_card(path)
    if card.quantized_steps is not None and not is_quantized(module):
        quantize_in_place(module, card.quantized_steps)
    load_state(module, path)
    return card


def load_state(module: nn.Module, path: str | Path) -> None:
    """
    Load weights that come without a card.

    Parameters
    ----------
    module : nn.Module
        The CNN; its weights are overwritten.
    path : path-like
        A safetensors file, or any other that ``torch.save`` wrote of a state dict.

    Raises
    ------
    InputError
        If the file is missing or damaged, or its weights don't fit the CNN.
    """
    try:
        if Path(path).suffix == ".safetensors":
            state = load_file(path)
        else:
            # Only tensors: a pickle can run any code when it is read.
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        EOFError,
        SafetensorError,
        UnpicklingError,
        RuntimeError,
    ) as error:
        message = f"{path}: not a readable file of weights: {error}"
        raise InputError(message) from error
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        message = f"{path}: the weights don't fit the CNN: {error}"
        raise InputError(message) from error
