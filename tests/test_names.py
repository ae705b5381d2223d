"""Names of layers, which become names of Brian2 objects, files and C++ functions."""

import gc
from collections import OrderedDict

import brian2
import numpy as np
import pytest
from brian2 import ms
from brian2.core.names import Nameable
from torch import nn

from cnn2snn_brian import LIF, STDP, InputError, Lesion, convert
from cnn2snn_brian.brian.network import program_network
from cnn2snn_brian.settings import names
from cnn2snn_brian.simulator.device import write_sources


def named(*layers, shape=(1, 2, 3), **options):
    """A network of linear layers with these names."""
    sizes = [int(np.prod(shape)), *[2] * len(layers)]
    parts = OrderedDict({"flatten_all": nn.Flatten()})
    for name, n, m in zip(layers, sizes[:-1], sizes[1:], strict=True):
        parts[name] = nn.Linear(n, m, bias=False)
        parts[f"relu{len(parts)}"] = nn.ReLU()
    module = nn.Sequential(parts).eval()
    return convert(module, shape, thresholds=1.0, names="module", **options)


@pytest.mark.parametrize(
    "layers",
    [
        ("größe",),
        ("ﬁne",),
        ("x²",),
        ("層",),
        ("perturbation",),
        ("perturbation_1", "b"),
        ("network_clock",),
        ("converted_network",),
        ("defaultclock",),
        ("a", "a_synapses"),
        ("a_synapses_pre", "a"),
        ("a", "a_spike_thresholder"),
        ("a", "a_floor"),
        ("a", "a_update"),
        ("a", "input_spike_thresholder"),
        ("x" * 101,),
    ],
    ids=lambda layers: layers[-1][:20],
)
def test_names_that_would_fail_later_are_refused(layers):
    with pytest.raises(InputError, match="the name of the layer") as found:
        named(*layers)
    assert any(f"{name}'" in str(found.value) for name in layers)
    assert "names='role'" in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "layers",
    [
        ("struct", "signed", "int", "i", "t", "N", "v", "w", "dt"),
        ("brian", "std", "main", "program", "_hidden", "__b", "c_"),
        ("a_synapses", "a_update"),
        ("a", "ab_floor", "perturbation_x", "my_input"),
        ("x" * 100,),
    ],
    ids=lambda layers: layers[0][:20],
)
def test_other_names_are_those_of_brian(layers, tmp_path):
    brian2.prefs.codegen.target = "numpy"
    snn = named(*layers)
    assert snn.layer_names == layers
    snn.network().run(2 * ms, namespace={})
    write_sources(snn, tmp_path)
    main = (tmp_path / "main.cpp").read_text()
    assert all(
        f"converted_network.add(&network_clock, _run_{n}" in main for n in layers
    )


def objects_of(*owners):
    """Names of all Brian2 objects that are alive."""
    assert owners
    return {found().name for found in Nameable.__instances__() if found() is not None}


@pytest.mark.parametrize("for_program", [False, True])
@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_every_object_is_reserved_or_named_after_its_layer(for_program, propagation):
    brian2.prefs.codegen.target = "numpy"
    cnn = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 2, 2),
            relu=nn.ReLU(),
            pool=nn.AvgPool2d(2),
            flat=nn.Flatten(),
            out=nn.Linear(2, 2),
        )
    ).eval()
    snn = convert(
        cnn,
        (1, 3, 3),
        thresholds=1.0,
        names="module",
        propagation=propagation,
        synapses={"out": "explicit"},
        neurons={"pool": LIF(refractory=2 * ms)},
        release_probability={"pool": 0.5},
        delay={"out": 2 * ms},
    ).plasticity("out", STDP(4 * ms, 7 * ms))
    gc.collect()
    before = objects_of(snn)
    if for_program:
        network = program_network(snn)
    else:
        network = snn.network(
            np.ones((1, 3, 3)), lesion=Lesion("conv"), input_deletion=0.5
        )
        network.run(2 * ms, namespace={})
    made = objects_of(network) - before
    assert len(made) > 10
    bases = {"input", *snn.layer_names}
    unknown = {
        name
        for name in made - bases
        if not names.RESERVED.fullmatch(name)
        and names._fault(name, bases) is None
        and not name.endswith("_codeobject")
    }
    assert not unknown
