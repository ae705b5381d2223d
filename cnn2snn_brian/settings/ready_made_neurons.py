"""Neuron models that are ready-made: IF, LIF, ConductanceLIF, AdaptiveIF, BurstIF."""

from dataclasses import replace
from typing import Any, Literal

from brian2 import Quantity, ms

from cnn2snn_brian.checks import check_choice, check_number, check_whole, seconds
from cnn2snn_brian.settings.neuron_models import BURST_RESETS, UNLESS, NeuronModel

#: Added to ``v`` in each step: within 1 ms a standard deviation of sigma thresholds.
NOISE = "sigma * v_th * sqrt(dt / ms) * randn()"

#: What passes a gate is a whole number of thresholds, but for less than this.
ROUNDING = 2**-10

#: Spikes of a burst, at most.
LONGEST_BURST = 64


def _times(**times: Quantity) -> dict[str, Quantity]:
    for what, tau in times.items():
        seconds(f"neurons: {what}", tau, plain=False, above=0)
    return times


def _model(
    equations: str,
    parameters: dict[str, Any],
    sigma: float,
    *,
    noise: str = NOISE,
    added: str = "",
    **more: Any,
) -> NeuronModel:
    """Make a model that declares noise only if there is some."""
    if strength := check_number("neurons: sigma", sigma, 0):
        parameters = {**parameters, "sigma": strength}
        added = f"{added} + {noise}" if added else noise
    return NeuronModel(equations, parameters=parameters, noise=added or None, **more)


def _standing(rate: str, refractory: Any) -> str:
    """Write equations of a ``v`` that only input changes."""
    # Only a differential equation can stand still while a neuron is refractory.
    is_refractory = NeuronModel("v : 1", refractory=refractory).has_refractory
    return f"dv/dt = 0 * v / {rate} : 1 {UNLESS}" if is_refractory else "v : 1"


def IF(*, refractory: Any = None, sigma: float = 0.0) -> NeuronModel:
    r"""
    Integrate-and-fire neurons, the paper's.

    Parameters
    ----------
    refractory : Quantity [s], optional
        How long after a spike ``v`` stays as the reset left it; input is lost then.
    sigma : float
        Membrane noise: standard deviation that it alone gives to ``v`` within 1 ms, as
        a share of the threshold. In each step ``v`` gets
        :math:`\sigma\, v_{th} \sqrt{dt / 1\,ms}` times a normal number.

    Returns
    -------
    NeuronModel
        The model.

    Raises
    ------
    InputError
        If a value is out of its range.
    """
    equations = _standing("second", refractory)
    method = "euler" if UNLESS in equations else None
    same = {"method": method, "refractory": refractory, "factor": "1", "name": "IF"}
    return _model(equations, {}, sigma, **same)


def LIF(
    tau: Quantity = 20 * ms, *, refractory: Any = None, sigma: float = 0.0
) -> NeuronModel:
    r"""
    Leaky integrate-and-fire neurons: ``v`` decays to 0 with a time constant.

    Parameters
    ----------
    tau : Quantity [s]
        Time constant. In a step ``v`` falls to :math:`v\, e^{-dt / \tau}`, which is
        exact.
    refractory : Quantity [s], optional
        How long after a spike ``v`` stays as the reset left it; input is lost then.
    sigma : float
        Membrane noise: standard deviation that it alone gives to ``v`` within 1 ms, as
        a share of the threshold, if tau is much longer than that. A step adds the
        Ornstein-Uhlenbeck process's exact
        :math:`\sigma\, v_{th} \sqrt{(1 - e^{-2 dt / \tau})\, \tau / 2\,ms}` times a
        normal number; the standard deviation tends to
        :math:`\sigma\, v_{th} \sqrt{\tau / 2\,ms}`.

    Returns
    -------
    NeuronModel
        The model.

    Raises
    ------
    InputError
        If a value is out of its range.
    """
    exact = "sigma * v_th * sqrt(tau / (2 * ms) * (1 - exp(-2 * dt / tau))) * randn()"
    return _model(
        f"dv/dt = -v / tau : 1 {UNLESS}",
        _times(tau=tau),
        sigma,
        noise=exact,
        method="exact",
        refractory=refractory,
        factor="exp(-dt / tau)",
        name="LIF",
    )


def ConductanceLIF(
    tau: Quantity = 20 * ms,
    *,
    tau_e: Quantity = 5 * ms,
    tau_i: Quantity = 10 * ms,
    e_reversal: float = 4.0,
    i_reversal: float = -1.0,
    refractory: Any = None,
    sigma: float = 0.0,
) -> NeuronModel:
    r"""
    Leaky neurons with excitatory and inhibitory conductances.

    The sign of a weight decides which of the two a spike opens. Both decay
    exponentially:

    .. math::

        \frac{dv}{dt} = -\frac{v}{\tau} + \frac{g_e}{\tau_e}
        \left(1 - \frac{v}{E_e}\right) - \frac{g_i}{\tau_i}
        \left(1 - \frac{v}{E_i}\right)

    A conductance is counted in what it moves ``v`` by, in all, at ``v = 0``: a spike
    adds its weight to ``g_e``, or its weight's size to ``g_i``, and thresholds can stay
    as they are for `IF`.

    Parameters
    ----------
    tau : Quantity [s]
        Time constant of the membrane.
    tau_e, tau_i : Quantity [s]
        Time constants of the conductances.
    e_reversal, i_reversal : float
        Reversal potentials as shares of the threshold, above 1 and below 0.
    refractory : Quantity [s], optional
        How long after a spike ``v`` stays as the reset left it. Conductances go on.
    sigma : float
        Membrane noise, see `IF`.

    Returns
    -------
    NeuronModel
        The model, with variables ``g_e`` and ``g_i``.

    Raises
    ------
    InputError
        If a value is out of its range.
    """
    parameters = {
        **_times(tau=tau, tau_e=tau_e, tau_i=tau_i),
        "e_reversal": check_number("neurons: e_reversal", e_reversal, above=1),
        "i_reversal": check_number("neurons: i_reversal", i_reversal, below=0),
    }
    return _model(
        f"""
        dv/dt = -v / tau + g_e / tau_e * (1 - v / (e_reversal * v_th))
                - g_i / tau_i * (1 - v / (i_reversal * v_th)) : 1 {UNLESS}
        dg_e/dt = -g_e / tau_e : 1
        dg_i/dt = -g_i / tau_i : 1
        """,
        parameters,
        sigma,
        on_pre="g_e_post += clip(w, 0, inf)\ng_i_post += clip(-w, 0, inf)",
        method="exponential_euler",
        refractory=refractory,
        name="ConductanceLIF",
    )


def AdaptiveIF(
    tau_a: Quantity = 100 * ms,
    step: float = 0.1,
    *,
    adapts: Literal["threshold", "current"] = "threshold",
    refractory: Any = None,
    sigma: float = 0.0,
) -> NeuronModel:
    r"""
    Integrate-and-fire neurons that tire: each spike makes the next one harder.

    A variable ``a`` grows by `step` with each spike and decays in between,
    :math:`da/dt = -a / \tau_a`. It is 0 at an image's (or trial's) start and goes on
    within it, so a stimulus that comes again meets neurons that are still adapted:
    repetition suppression [1]_.

    - ``"threshold"``: a neuron spikes at :math:`v \ge v_{th} (1 + a)` [2]_. With
      ``reset="subtract"`` this raised threshold is taken from ``v``; taking
      :math:`v_{th}` alone would only delay spikes.
    - ``"current"``: :math:`dv/dt = -v_{th}\, a / \tau_a`, spike-frequency adaptation by
      a hyperpolarising current [3]_. In all, a spike takes `step` thresholds from
      ``v``, as far as the floor ``v_min`` lets it.

    Both are integrated exactly.

    Parameters
    ----------
    tau_a : Quantity [s]
        Time constant of the adaptation.
    step : float
        What a spike adds to ``a``, a share of the threshold.
    adapts : {"threshold", "current"}
        What adapts.
    refractory : Quantity [s], optional
        Refractory period, see `IF`; ``a`` decays in it.
    sigma : float
        Membrane noise, see `IF`.

    Returns
    -------
    NeuronModel
        The model, with a variable ``a``.

    Raises
    ------
    InputError
        If a value is out of its range.

    References
    ----------
    .. [1] Vinken, Boix and Kreiman (2020), Incorporating intrinsic suppression in deep
       neural networks captures dynamics of adaptation in neurophysiology and
       perception, doi:10.1126/sciadv.abd4205
    .. [2] Bellec et al. (2018), Long short-term memory and learning-to-learn in
       networks of spiking neurons, arXiv:1803.09574
    .. [3] Benda and Herz (2003), A universal model for spike-frequency adaptation,
       doi:10.1162/089976603322385063
    """
    check_choice("neurons: adapts", adapts, ("threshold", "current"))
    by_threshold = adapts == "threshold"
    level = "v_th * (1 + a)" if by_threshold else "v_th"
    return _model(
        f"{_standing('tau_a', refractory)}\nda/dt = -a / tau_a : 1",
        {**_times(tau_a=tau_a), "step": check_number("neurons: step", step)},
        sigma,
        # Of the equation's exact solution, with the `a` that has just decayed.
        added="" if by_threshold else "-v_th * a * (exp(dt / tau_a) - 1)",
        threshold=f"v >= {level}",
        reset={"zero": "v = 0\na += step", "subtract": f"v -= {level}\na += step"},
        method="exponential_euler",
        refractory=refractory,
        name="AdaptiveIF",
    )


def BurstIF(most: int = 4, *, signed: bool = False) -> NeuronModel:
    r"""
    Integrate-and-fire neurons that send several spikes in a step.

    .. math:: n = \min(\max(\lfloor v / v_{th} \rfloor, 0), \mathit{most}), \qquad
       v \leftarrow v - n\, v_{th}

    Each of the `n` spikes of a burst counts: a target gets :math:`n\, w`. With few
    steps, a neuron can then say as many numbers as one that spikes once in each of many
    [1]_. It is for ``reset="subtract"``, as in the preset "bursts"; a reset to 0 is
    refused.

    For Brian2 a burst is one event, and the neuron's variable ``burst`` has its size
    (0 in steps without one): ``SpikeMonitor(group, variables="burst")`` keeps it, and
    synapses of your own read ``burst_pre``. Synapses that fail transmit a burst as a
    whole or not at all.

    Parameters
    ----------
    most : int
        Spikes of a burst, at most; 1 makes it `IF`.
    signed : bool
        Whether neurons take spikes back [2]_: where :math:`v \le -v_{th}`,
        :math:`\min(\lfloor -v / v_{th} \rfloor, \mathit{most})` of them, but not more
        than were sent (variable ``sent``). That is not a spike of a neuron but a
        correction of what was sent too early: targets get :math:`-n\, w`, and
        ``burst`` is below 0.

    Returns
    -------
    NeuronModel
        The model, with a variable ``burst``.

    Raises
    ------
    InputError
        If `most` is not a whole number from 1 to 64.

    References
    ----------
    .. [1] Li and Zeng (2022), Efficient and Accurate Conversion of Spiking Neural
       Network with Burst Spikes, doi:10.24963/ijcai.2022/345
    .. [2] Wang et al. (2022), Signed Neuron with Memory: Towards Simple, Accurate and
       High-Efficient ANN-SNN Conversion, doi:10.24963/ijcai.2022/347
    """
    check_whole("neurons: most", most, 1)
    check_number("neurons: most", most, high=LONGEST_BURST)
    burst = _thresholds_in(most)
    if signed:
        back = " + ".join(f"int(v <= -{k} * v_th)" for k in range(1, most + 1))
        burst += f" - clip({back}, 0, sent)"
    return NeuronModel(
        "v : 1" + signed * "\nsent : 1",
        threshold="burst != 0",
        reset={"zero": "v = 0", "subtract": BURST_RESETS[signed]},
        size=burst,
        most=most,
        signed=signed,
        factor="1",
        name="BurstIF",
    )


def _thresholds_in(most: int, *, less: float = 0) -> str:
    """Write how many thresholds are in ``v``."""
    # Counted, not divided: with -ffast-math, 3 thresholds over 1 may be 2.9999998.
    return " + ".join(f"int(v >= {k - less} * v_th)" for k in range(1, most + 1))


def passing_on(model: NeuronModel) -> NeuronModel:
    """Make the neurons of a gate, which send on what those of this model send."""
    if model.size is None:
        return model
    return replace(model, size=_thresholds_in(model.most, less=ROUNDING))
