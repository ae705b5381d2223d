"""Synapses between two layers, each of them stored."""

from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Clock, CodeRunner, Quantity, Synapses, ms

from cnn2snn_brian.brian.codeobjects import droppable
from cnn2snn_brian.projections import Connection
from cnn2snn_brian.settings import Rule


def set_rule(
    synapses: Any, rule: Rule, connection: Connection, weights: Any = None
) -> None:
    """Give synapses the parameters of their rule, and weights."""
    for what, value in rule.parameters.items():
        setattr(synapses, what, value)
    if weights is not None:
        synapses.w = connection.to_synapses(weights)


class TrialEnd(CodeRunner):  # type: ignore[misc]
    """
    What a rule does at the end of a trial.

    It is no part of a network: somebody calls it when a trial ends.

    Parameters
    ----------
    synapses : Synapses
        The synapses that learn.
    rule : Rule
        Their rule.
    """

    def __init__(self, synapses: Any, rule: Rule) -> None:
        CodeRunner.__init__(
            self,
            synapses,
            "stateupdate",
            code=rule.on_trial_end,
            clock=synapses.clock,
            name=f"{synapses.name}_trial_end",
        )


def end_trial(synapses: Any, rule: Rule, reward: float) -> None:
    """Do what a rule does at the end of a trial, in Brian2's runtime mode."""
    synapses.reward = reward
    if not rule.on_trial_end:
        return
    runner = getattr(synapses, "_trial_end", None)
    if runner is None:
        runner = synapses._trial_end = droppable(TrialEnd)(synapses, rule)
        runner.before_run({})
    runner.run()


def explicit_synapses(
    source: Any,
    target: Any,
    connection: Connection,
    *,
    clock: Clock,
    name: str,
    dtype: npt.DTypeLike = np.float32,
    on_pre: str = "v_post += w",
    delay: Quantity = 0 * ms,
    when: str = "synapses",
    order: int = 0,
    rule: Rule | None = None,
) -> Synapses:
    """Connect two populations with one stored synapse per connection."""
    pre, post, weight = connection.expanded()
    options: dict[str, Any]
    options = {"model": "w : 1", "on_pre": on_pre, "dtype": np.dtype(dtype).type}
    if rule is not None:
        options = {
            "model": rule.equations,
            "on_pre": f"{on_pre}\n{rule.on_pre}",
            "on_post": rule.on_post or None,
            "dtype": dict.fromkeys(("w", *rule.variables), options["dtype"]),
        }
    synapses = droppable(Synapses)(
        source, target, delay=delay, clock=clock, name=name, **options
    )
    synapses.pre.when, synapses.pre.order = when, order
    synapses.connect(i=pre, j=post)
    synapses.w = weight.astype(dtype)
    for what, value in rule.initial.items() if rule is not None else ():
        setattr(synapses, what, value)
    return synapses
