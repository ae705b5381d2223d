"""
Reaction times of a decision
============================

Is it a 3 or an 8? Two populations that each excite themselves and inhibit the other
read output neurons of a CNN, and the first to reach 15 Hz decides: the network of Wang
(2002), doi:10.1016/S0896-6273(02)01092-9, reduced to its slow currents by Wong and Wang
(2006), doi:10.1523/JNEUROSCI.3733-05.2006. Noise in the image acts as it does in moving
dots: decisions get slower and worse, and wrong ones take longer than right ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import Hz, NeuronGroup, Synapses, ms, nA, second

from cnn2snn_brian import Recording, convert, models
from cnn2snn_brian.data import load_digits

duration, pair = 1 * second, (3, 8)  # of a trial; the two classes
noise = (0.0, 0.3, 0.5, 0.7, 0.85)  # share of each pixel that is random
tau_s, tau_noise, tau_input = 100 * ms, 2 * ms, 20 * ms
itself, other, background, sigma = 0.2609 * nA, 0.0497 * nA, 0.3255 * nA, 0.02 * nA
kick = 0.0156 * nA / (110 * Hz) / tau_input  # the CNN's mean rate is the paper's 30 Hz
figure_file = "reaction_times.png"
total = "from_other_post = other * s_pre : amp (summed)"


def decision(network):
    """Add two populations, each of which spikes when it decides."""
    choice = NeuronGroup(
        2,
        """ds/dt = -s / tau_s + (1 - s) * 0.641 * rate : 1
        rate = x / (1 - exp(-0.154 * second * x)) : Hz
        x = 270 * Hz / nA * current - 108 * Hz : Hz
        current = itself * s - from_other + background + stimulus + random : amp
        dstimulus/dt = -stimulus / tau_input : amp
        drandom/dt = -random / tau_noise + sigma * sqrt(1 / tau_noise) * xi : amp
        from_other : amp""",
        threshold="rate > 15 * Hz",
        refractory=duration,
        method="euler",
        name="choice",
    )
    choice.s = 0.1
    read = Synapses(network["ip1"], choice, on_pre="stimulus += kick", name="read")
    read.connect(i=pair, j=[0, 1])
    inhibit = Synapses(choice, choice, total, name="inhibit")
    inhibit.connect("i != j")
    network.add(choice, read, inhibit)


training, test = load_digits()
of_pair = np.isin(test.labels, pair)
labels, digits = test.labels[of_pair], test.images[of_pair] / 255
random = np.random.default_rng(0).random(digits.shape)
cnn, _ = models.pretrained("digits")
snn = convert(cnn, test.input_shape, calibration=training.images).extend(decision)
images = np.concatenate([(1 - share) * digits + share * random for share in noise])
record = Recording(["choice"], variables={"choice": "s"}, interval=5 * ms)
with snn.compile(duration) as simulator:
    result = simulator.run(images, record=record)

times = np.nan_to_num(result.first_spike("choice"), nan=np.inf)
times = 1e3 * times.reshape(len(noise), len(digits), 2)
first, right = times.min(-1), np.take(pair, times.argmin(-1)) == labels
decides = np.isfinite(first)
masks = {"right": decides & right, "wrong": decides & ~right}
means = {k: np.mean(first, axis=1, where=mask) for k, mask in masks.items()}
share = np.mean(right, axis=1, where=decides)
for level, p, fast, slow in zip(noise, share, *means.values(), strict=True):
    print(f"noise {level:.2f}: {p:.1%} right after {fast:.0f} ms, wrong {slow:.0f} ms")
print(f"with most noise, {means['right'][-1] / means['right'][0]:.2f} times as slow")

fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for image in (*range(6), *range(-6, 0)):  # without noise, and with most
    t, s, _ = result.variable("choice", "s", image % len(images))
    axes[0].plot(1e3 * t, s[:, 0] - s[:, 1], "C0" if image >= 0 else "C1", lw=1)
axes[0].set(xlabel="time (ms)", ylabel="s of the 3 - s of the 8", xlim=(0, 700))
axes[1].plot(noise, share, "o-")
axes[1].set(xlabel="noise", ylabel="right decisions")
axes[2].plot(noise, np.transpose([*means.values()]), "o-", label=[*means])
axes[2].set(xlabel="noise", ylabel="reaction time (ms)", ylim=0)
axes[2].legend()
fig.savefig(figure_file, dpi=120)
plt.show()
