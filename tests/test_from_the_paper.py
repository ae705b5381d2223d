"""The Brian2 code of the page "From the paper's equations to Brian2" does Eq. 1."""

import re
from pathlib import Path

import brian2
import numpy as np
from brian2 import Network, SpikeGeneratorGroup, SpikeMonitor, ms

PAGE = Path(__file__).parent.parent / "docs" / "from-the-paper.md"


def test_the_code_of_the_page_is_equation_1():
    brian2.prefs.codegen.target = "numpy"
    rng = np.random.default_rng(seed=0)
    n_before, n, n_steps = 5, 3, 40
    theta, v_min, leak = 2.0, -0.5, 0.25
    # Quarters have no rounding errors.
    weight = rng.integers(-6, 9, (n_before, n)) / 4
    drawn = rng.random((n_steps, n_before)) < 0.4
    step, index = np.nonzero(drawn)
    before = SpikeGeneratorGroup(n_before, index, step * ms, dt=1 * ms)

    (code,) = re.findall(
        r"```python\n(from brian2 import.*?)```", PAGE.read_text(), re.S
    )
    made = {"n": n, "before": before}
    exec(code, made)
    group, synapses = made["conv1"], made["synapses"]
    synapses.connect()
    synapses.w = weight.ravel()
    group.v_th, group.v_min, group.leak = theta, v_min, leak
    spikes = SpikeMonitor(group)
    network = Network(before, group, synapses, spikes)
    network.run(n_steps * ms)

    v, expected = np.zeros(n), []
    for now in range(n_steps):
        v = v + leak
        fired = v >= theta
        expected += [(now, neuron) for neuron in np.flatnonzero(fired)]
        v = np.maximum(np.where(fired, 0, v), v_min) + drawn[now] @ weight
    found = list(zip(np.rint(spikes.t / ms).astype(int), spikes.i[:], strict=True))
    assert len(expected) > 10
    assert found == expected
    np.testing.assert_array_equal(group.v[:], v)
