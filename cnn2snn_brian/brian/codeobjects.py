"""
Code objects of our own, for each of Brian2's targets.

Brian2 makes the code of an object from a template of the target's "templater" [1]_.
Ours are derived from Brian2's: they look into the folders of ``templates/`` first.

References
----------
.. [1] https://brian2.readthedocs.io/en/stable/developer/codegen.html
"""

from functools import cache
from typing import Any

from brian2 import DEFAULT_FUNCTIONS, PoissonGroup, get_device

from cnn2snn_brian.brian.internals import (
    CPPCodeGenerator,
    CPPStandaloneCodeObject,
    CythonCodeObject,
    NumpyCodeObject,
)
from cnn2snn_brian.errors import UnsupportedDeviceError
from cnn2snn_brian.projections import INPUT
from cnn2snn_brian.settings import narrow_brians_hook


class _Droppable:
    def __del__(self) -> None:
        """Say nothing, in place of Brian2's warning."""


@cache
def droppable(kind: type[Any]) -> type[Any]:
    """Make a kind of Brian2 object that can be dropped without a warning."""
    return type(
        kind.__name__,
        (_Droppable, kind),
        {"__doc__": kind.__doc__, "__module__": kind.__module__},
    )


narrow_brians_hook()

PACKAGE = "cnn2snn_brian.brian"


class StandaloneCodeObject(CPPStandaloneCodeObject):
    """Generated C++ for Brian2's own standalone device."""

    templater = CPPStandaloneCodeObject.templater.derive(
        PACKAGE, templates_dir="templates/standalone"
    )


class _ProgramGenerator(CPPCodeGenerator):  # type: ignore[misc]
    """Writes the functions that Brian2 gives to all code to no file but their own."""

    universal_support_code = ""


#: These functions, a header of a program.
BRIAN_FUNCTIONS = f"#pragma once\n{CPPCodeGenerator.universal_support_code}"


class ProgramCodeObject(CPPStandaloneCodeObject):
    """Generated C++ that can be compiled together with all other of its kind."""

    generator_class = _ProgramGenerator
    templater = StandaloneCodeObject.templater.derive(
        PACKAGE, templates_dir="templates/program"
    )


def _drawn(name: str, stream: str, kind: str) -> dict[str, str]:
    return {
        "support_code": f"inline double _{name}(const int _vectorisation_idx) "
        f"{{ return cnn2snn::{stream}().{kind}(); }}"
    }


def _rand(owner: Any) -> dict[str, str]:
    """Draw uniform numbers: input spikes have a stream of their own."""
    # Whatever else is drawn for (failing synapses, noise, lesions), the same image and
    # seed then make the same input.
    is_input = isinstance(owner, PoissonGroup) and owner.name == INPUT
    return _drawn("rand", "random" if is_input else "network_random", "uniform")


def _randn(owner: Any) -> dict[str, str]:
    """Draw normal numbers from a stream that each image seeds."""
    return _drawn("randn", "noise_random", "normal")


for _name, _code in (("rand", _rand), ("randn", _randn)):
    DEFAULT_FUNCTIONS[_name].implementations.add_dynamic_implementation(
        ProgramCodeObject,
        name=f"_{_name}",
        namespace=lambda owner: {},
        code=_code,
        compiler_kwds={"headers": ['"random_numbers.h"']},
    )


@cache
def _derived(base: type[Any]) -> type[Any]:
    """Make the code object class of a target that knows our templates."""
    if issubclass(base, ProgramCodeObject):
        return base
    if issubclass(base, CPPStandaloneCodeObject):
        return StandaloneCodeObject
    for known, folder in ((CythonCodeObject, "cython"), (NumpyCodeObject, "numpy")):
        if issubclass(base, known):
            templater = base.templater.derive(
                PACKAGE, templates_dir=f"templates/{folder}"
            )
            return type(f"Shared{base.__name__}", (base,), {"templater": templater})
    raise UnsupportedDeviceError(
        f"weight-shared synapses can't be used with {base.__name__}; use C++ "
        "standalone, Cython or NumPy"
    )


def own_code_object_class() -> type[Any]:
    """Choose the class of our own for the active device and code generation target."""
    return _derived(get_device().code_object_class(None))
