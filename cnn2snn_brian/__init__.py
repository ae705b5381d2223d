"""
Turn a trained PyTorch CNN into a spiking network in Brian2.

`convert` makes a `SpikingNetwork` of a CNN, its ``network()`` is a plain Brian2 network
and its ``compile()`` a `Simulator`: a C++ program that runs images.

Names are imported when they are first used: torch and Brian2 take seconds.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

#: Where public names live. The stub tells it to type checkers, too, as SPEC 1 of
#: Scientific Python has it: https://scientific-python.org/specs/spec-0001
_HOMES = {
    alias.name: str(statement.module)
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(statement, ast.ImportFrom)
    for alias in statement.names
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in ("Layers", "layers"):  # as in version 0.2.0
        layers = import_module(f"{__name__}.layers")
        return layers if name == "layers" else layers.Layers
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    value = (
        import_module(f"{home}.{name}")
        if home == __name__
        else getattr(import_module(home), name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
