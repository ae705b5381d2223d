"""What `help` says of public names: real signatures."""

import inspect
from types import ModuleType

import pytest

import cnn2snn_brian
from cnn2snn_brian.brian.shared_synapses import SharedSynapses

CALLED = (inspect.isclass, inspect.isfunction, inspect.ismethod)
CATCH_ALL = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def public():
    """All that the package names, with methods, by its name."""
    found = {"SharedSynapses": SharedSynapses}
    for name in cnn2snn_brian.__all__:
        value = getattr(cnn2snn_brian, name)
        if isinstance(value, ModuleType):
            found |= {f"{name}.{what}": getattr(value, what) for what in value.__all__}
        else:
            found[name] = value
    for name, value in list(found.items()):
        if inspect.isclass(value):
            own = [kind for kind in value.__mro__ if "cnn2snn" in kind.__module__]
            found |= {
                f"{name}.{what}": getattr(value, what)
                for kind in own
                for what in vars(kind)
                if not what.startswith("_")
            }
    return {
        name: value
        for name, value in found.items()
        # Nobody makes a protocol.
        if any(is_kind(value) for is_kind in CALLED)
        and not getattr(value, "_is_protocol", False)
    }


PUBLIC = public()


def signature(value):
    try:
        return inspect.signature(value)
    except ValueError:  # a class of C, which has none
        return None


def test_no_signature_is_only_args_and_kwds():
    hidden = []
    for name, value in PUBLIC.items():
        found = signature(value)
        kinds = {p.kind for p in found.parameters.values()} if found else set()
        hidden += [name] if kinds == CATCH_ALL else []
    assert len(PUBLIC) > 200
    assert not hidden


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("convert", ["module", "input_shape"]),
        ("from_nir", ["graph", "reset"]),
        ("SpikingNetwork.compile", ["self", "duration", "cache_directory"]),
        ("stimuli.drifting_grating", ["shape", "orientation"]),
        ("Simulator", ["snn", "duration"]),
        ("SharedSynapses", ["source", "target", "connection", "on_pre", "delay"]),
    ],
)
def test_help_names_the_parameters(name, parameters):
    value = PUBLIC[name]
    found = list(signature(value).parameters)
    assert found[: len(parameters)] == parameters
    assert (value.__init__ if inspect.isclass(value) else value).__wrapped__
    assert value.__module__.startswith("cnn2snn_brian")
    assert "kwds" not in inspect.signature(value).parameters
