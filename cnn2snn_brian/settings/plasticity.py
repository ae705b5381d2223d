"""
Rules of plasticity: what spikes and rewards do to the weights of explicit synapses.

A `Rule` is Brian2 code: variables of each synapse with their equations, what a spike of
the source and of the target does to them, and what happens at the end of a trial (an
image's time). `STDP` and `RewardSTDP` are ready-made. Values of parameters are run-time
inputs of a compiled program; everything else of a rule is its structure.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from brian2 import Equations, Quantity, ms

from cnn2snn_brian.checks import check_names, check_number, seconds
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Network, Projection
from cnn2snn_brian.settings.neuron_models import BrianCode, NeuronModel, read_equations
from cnn2snn_brian.settings.settings import FrozenDict

#: Names that all plastic synapses have; a rule declares none of them.
RESERVED = ("w", "reward", "transmitted", "lastupdate", "i", "j", "N", "delay")

#: Of the variables that all plastic synapses have.
SHARED_MODEL = "w : 1\nreward : 1 (shared)\n"

#: Fields of a rule that are statements.
STATEMENTS = ("on_pre", "on_post", "on_trial_end")


@dataclass(frozen=True)
class Rule(BrianCode):
    """
    A rule of plasticity, in Brian2's language.

    A spike of the source first acts on the target with the weight ``w`` as it is, then
    ``on_pre`` runs, then, if the target spikes in the same step, ``on_post``.
    Statements can read and change ``w`` and the variables of the rule, and read the
    parameters and variables of the neurons, as ``v_post`` or ``v_th_pre``.

    Attributes
    ----------
    model : str
        Brian2 equations of the variables of each synapse, without ``w``. Differential
        equations are best ``(event-driven)``.
    on_pre, on_post : str
        What a spike of the source (with the synapses' delay) and of the target does.
    on_trial_end : str
        What happens to each synapse at the end of a trial, with its ``reward``.
    parameters : mapping of str to float or Quantity
        Numbers that the rule uses, one for all synapses of a layer.
    initial : mapping of str to float or Quantity
        Values of variables at a trial's start; 0 without one.
    name : str
        Name of the rule, for tables.

    Raises
    ------
    InputError
        If the equations or statements can't be read, or a name is declared twice.

    Examples
    --------
    Weights that every spike of the target scales towards a sum (Oja's idea):

    >>> rule = Rule(
    ...     on_pre="recent += 1",
    ...     on_post="w += rate * (recent / 10 - w)",
    ...     model="recent : 1",
    ...     parameters={"rate": 0.01},
    ... )
    """

    model: str = ""
    on_pre: str = ""
    on_post: str = ""
    on_trial_end: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    name: str = "own"

    def __post_init__(self) -> None:
        declared = read_equations("plasticity", self.model).names
        self._check("plasticity", declared, "w", RESERVED, lambda x: not np.isnan(x))
        read_equations("plasticity", self.equations)
        for what in STATEMENTS:
            try:
                ast.parse(_dedented(getattr(self, what)))
            except SyntaxError as wrong:
                raise InputError(
                    f"plasticity: {what} can't be read: {wrong}"
                ) from wrong

    @property
    def equations(self) -> str:
        """Equations as Brian2 gets them, with ``w`` and the parameters declared."""
        return self._with_values(SHARED_MODEL, self.model)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of each synapse's own variables, without ``w``."""
        return tuple(Equations(self.model).names)

    @property
    def structure(self) -> tuple[Any, ...]:
        """What a compiled program depends on: everything but parameters' values."""
        return (
            self.equations,
            *(_dedented(getattr(self, what)) for what in STATEMENTS),
            self._initial_structure,
        )


def _dedented(code: str) -> str:
    """Take the indentation from statements, one a line."""
    return "\n".join(line.strip() for line in code.strip().splitlines())


def checked_rules(
    rules: Mapping[str, Rule],
    layers: Network,
    kinds: Mapping[str, str],
    encoding: str,
    models: Mapping[str, NeuronModel],
) -> Mapping[str, Rule]:
    """Check the rules of a network."""
    check_names("plasticity", rules, layers.names)
    for name, rule in rules.items():
        if not isinstance(rule, Rule):
            raise InputError(
                f"plasticity of {name}: {rule!r}, expected a Rule, such as STDP()"
            )
        if reason := _why_not(layers.into(name), kinds[name], encoding):
            raise InputError(f"plasticity of {name}: {reason}")
        for end in (name, *layers.sources(name)):
            if end in models and models[end].size is not None:
                raise InputError(
                    f"plasticity of {name}: neurons of {end} send several spikes at "
                    "once, and rules are of single spikes; give these neurons=IF()"
                )
    return FrozenDict({name: rules[name] for name in layers.names if name in rules})


def _why_not(into: Sequence[Projection], kind: str, encoding: str) -> str:
    """Say why the synapses into a layer can't learn; empty if they can."""
    if encoding == "current" and any(p.source == INPUT for p in into):
        return "with encoding='current' no spikes reach the first layer"
    if any(p.gate for p in into):
        return "a gate of maximum pooling passes spikes and has no weights"
    if len(into) != 1:
        return f"it has {len(into)} projections; synapses of one can learn"
    if kind != "explicit":
        return (
            "its synapses share their weights and can't learn one by one; convert with "
            f"synapses={{{into[0].target!r}: 'explicit'}}"
        )
    return ""


def _parameters(tau_pre: Any, tau_post: Any, **numbers: float) -> dict[str, Any]:
    """Check the parameters of both kinds of STDP."""
    for what, tau in (("tau_pre", tau_pre), ("tau_post", tau_post)):
        seconds(f"plasticity: {what}", tau, plain=False, above=0)
    for what, number in numbers.items():
        if what not in ("w_min", "w_max") or number not in (-np.inf, np.inf):
            check_number(f"plasticity: {what}", number)
    low, high = numbers["w_min"], numbers["w_max"]
    if low > high:
        raise InputError(f"plasticity: w_min {low} is above w_max {high}")
    # Brian2 keeps names that end in _pre and _post for the neurons.
    taus = {"taupre": tau_pre, "taupost": tau_post}
    return taus | {what: float(number) for what, number in numbers.items()}


#: Traces of the spikes of source and target.
TRACES = """
dapre/dt = -apre / taupre : 1 (event-driven)
dapost/dt = -apost / taupost : 1 (event-driven)
"""


def STDP(
    tau_pre: Quantity = 20 * ms,
    tau_post: Quantity = 20 * ms,
    *,
    a_plus: float = 0.01,
    a_minus: float = 0.01,
    w_min: float = -np.inf,
    w_max: float = np.inf,
) -> Rule:
    r"""
    Spike-timing-dependent plasticity of pairs of spikes, additive, all to all.

    A spike of the source leaves a trace :math:`a_{pre}` that grows by `a_plus` and
    decays with `tau_pre`, one of the target :math:`a_{post}` that falls by `a_minus`
    and decays with `tau_post`. A spike of the source adds :math:`a_{post}` to the
    weight, one of the target :math:`a_{pre}`: source before target strengthens, target
    before source weakens. Spikes of one step count as source before target. Weights
    stay between `w_min` and `w_max` [1]_.

    Parameters
    ----------
    tau_pre, tau_post : Quantity [s]
        Time constants of the traces.
    a_plus, a_minus : float
        Change of a weight by a pair of spikes without delay between them.
    w_min, w_max : float
        Bounds of the weights.

    Returns
    -------
    Rule
        The rule, with variables ``apre`` and ``apost`` of each synapse.

    Raises
    ------
    InputError
        If a value is out of its range.

    References
    ----------
    .. [1] Song, Miller and Abbott (2000), Competitive Hebbian learning through
       spike-timing-dependent synaptic plasticity, doi:10.1038/78829
    """
    numbers = {"a_plus": a_plus, "a_minus": a_minus, "w_min": w_min, "w_max": w_max}
    return Rule(
        TRACES,
        on_pre="apre += a_plus\nw = clip(w + apost, w_min, w_max)",
        on_post="apost -= a_minus\nw = clip(w + apre, w_min, w_max)",
        parameters=_parameters(tau_pre, tau_post, **numbers),
        name="STDP",
    )


def RewardSTDP(
    tau_pre: Quantity = 20 * ms,
    tau_post: Quantity = 20 * ms,
    *,
    a_plus: float = 0.01,
    a_minus: float = 0.0,
    baseline: float = 0.0,
    w_min: float = -np.inf,
    w_max: float = np.inf,
) -> Rule:
    r"""
    Reward-modulated STDP: what `STDP` would change waits for the trial's reward.

    The changes of a trial add up to an eligibility :math:`e` of each synapse. At the
    trial's end the weight gets :math:`(r - b)\, e`, with the reward :math:`r` of the
    trial and the `baseline` :math:`b`, the reward that was expected. Until then it
    stays as it is [1]_.

    Parameters
    ----------
    tau_pre, tau_post : Quantity [s]
        Time constants of the traces.
    a_plus, a_minus : float
        What a pair of spikes adds to, or takes from, the eligibility. By default only
        source before target counts.
    baseline : float
        Reward that changes nothing. With rewards of 1 and -1 and a baseline of 1,
        weights change after errors only; with a baseline of 0, most changes follow
        what the network does anyway.
    w_min, w_max : float
        Bounds of the weights.

    Returns
    -------
    Rule
        The rule, with variables ``apre``, ``apost`` and ``eligibility`` of each
        synapse.

    Raises
    ------
    InputError
        If a value is out of its range.

    References
    ----------
    .. [1] Fremaux and Gerstner (2016), Neuromodulated spike-timing-dependent
       plasticity, and theory of three-factor learning rules,
       doi:10.3389/fncir.2015.00085
    """
    numbers = {"a_plus": a_plus, "a_minus": a_minus, "w_min": w_min, "w_max": w_max}
    return Rule(
        f"{TRACES}eligibility : 1",
        on_pre="apre += a_plus\neligibility += apost",
        on_post="apost -= a_minus\neligibility += apre",
        on_trial_end="w = clip(w + (reward - baseline) * eligibility, w_min, w_max)",
        parameters=_parameters(tau_pre, tau_post, **numbers, baseline=baseline),
        name="RewardSTDP",
    )
