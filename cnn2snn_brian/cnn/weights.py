"""
Trained weights on disk: a safetensors file and, next to it, a model card (JSON).

The card says which CNN the weights belong to, what they were trained on, by which
command, and how accurate the CNN is.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from cnn2snn_brian.cnn.adjust import adjust_in_place, unwrapped
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import DAMAGE, checksum, written_whole

#: How files of ``torch.save`` began before they were ZIP archives.
PICKLE = b"\x80"


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
    """Write weights and model card."""
    state = unwrapped(module).state_dict()
    state = {name: value.cpu().contiguous() for name, value in state.items()}
    with written_whole(path) as unfinished:
        save_file(state, unfinished, metadata={"sha256": _checksum(state)})
    with written_whole(_card_path(path)) as unfinished:
        unfinished.write_text(json.dumps(asdict(card), indent=2) + "\n")


def _checksum(state: dict[str, torch.Tensor]) -> str:
    kinds = {name: [str(value.dtype), *value.shape] for name, value in state.items()}
    # As bytes, since numpy does not know all types of PyTorch.
    arrays = {
        name: value.reshape(-1).view(torch.uint8).numpy()
        for name, value in state.items()
    }
    return checksum(json.dumps(kinds, sort_keys=True), arrays)


def read_card(path: str | Path) -> ModelCard:
    """Read the model card of a weights file."""
    card_path = _card_path(path)
    try:
        values = json.loads(card_path.read_text())
        rows = {name: tuple(values[name]) for name in ("input_shape", "classes")}
        return ModelCard(**{**values, **rows})
    except DAMAGE as error:
        raise InputError(f"{card_path}: not a readable model card: {error}") from error


def load_weights(module: nn.Module, path: str | Path) -> ModelCard:
    """Load weights into a CNN."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    card, module = read_card(path), unwrapped(module)
    is_quantized = any(isinstance(child, ClipFloorShift) for child in module.modules())
    if card.quantized_steps is not None and not is_quantized:
        adjust_in_place(module, card.quantized_steps)
    load_state(module, path)
    return card


def load_state(module: nn.Module, path: str | Path) -> None:
    """Load weights that come without a card."""
    try:
        if Path(path).suffix == ".safetensors":
            state = load_file(path)
            with safe_open(path, framework="pt") as file:
                expected = (file.metadata() or {}).get("sha256")
            # Files of others and of version 0.1.0 have none.
            if expected not in (None, _checksum(state)):
                raise ValueError("its checksum is not that of its content")
        else:
            # Only tensors: a pickle can run any code when it is read.
            state = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        raise InputError(
            f"{path}: not a readable file of weights: {_found_in(Path(path), error)}"
        ) from error
    try:
        module = unwrapped(module)
        state = _named_as(module, state)
        module.load_state_dict(state)
    except DAMAGE as error:
        raise InputError(
            f"{path}: the weights don't fit the CNN: {_misfit(module, state)}"
        ) from error


def _found_in(path: Path, error: Exception) -> str:
    """Say what a file is that has no weights, as far as one can tell."""
    if not path.is_file():
        return str(error)
    with path.open("rb") as file:
        start = file.read(200)
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    first = start.decode(errors="replace").strip().partition("\n")[0].rstrip("\r")
    if first and first.isprintable() and "\ufffd" not in first:
        return f"it is a text file, {first[:60]!r}; was it downloaded whole?"
    if "TorchScript" in str(error):
        return "it is TorchScript; load it with torch.jit.load, save its state_dict()"
    if isinstance(error, UnpicklingError):
        # What PyTorch says of both is to read the file with weights_only=False.
        if zipfile.is_zipfile(path) or start.startswith(PICKLE):
            return (
                "it has other objects than tensors, as a whole module, which can run "
                "any code; save module.state_dict() alone"
            )
        return "it is not a file that torch.save wrote, or damaged"
    return str(error).strip().partition("\n")[0]


def _named_as(module: nn.Module, state: Any) -> Any:
    """Take a state dict out of a checkpoint, with the names that a CNN has."""
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(k, str) for k in state):
        return state
    # torch.compile puts its name in front of any part.
    own = {name.replace("_orig_mod.", ""): name for name in module.state_dict()}
    given = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    first = next(iter(own), "")
    for name in given:
        prefix = name.removesuffix(first)
        if name.endswith(first) and {prefix + k for k in own} == set(given):
            return {name: given[prefix + k] for k, name in own.items()}
    return state


def _misfit(module: nn.Module, state: Any) -> str:
    """Say in a line what differs between a CNN and a state dict."""
    if not isinstance(state, Mapping):
        return f"found a {type(state).__name__}, expected tensors by name"
    if not state:
        return "found nothing, expected tensors by name"
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {str(k): tuple(getattr(value, "shape", ())) for k, value in state.items()}
    differ = {
        "missing": [k for k in own if k not in given],
        "unknown to it": [k for k in given if k not in own],
        "of another shape": [k for k in own if given.get(k, own[k]) != own[k]],
    }
    found = [
        f"{names[0]!r}{f' and {len(names) - 1} more' if names[1:] else ''} {what}"
        for what, names in differ.items()
        if names
    ]
    if names := differ["of another shape"]:
        found[-1] += f" ({given[names[0]]}, expected {own[names[0]]})"
    return "; ".join(found) or "the values can't be copied"
