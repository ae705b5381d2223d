"""
Synapses that learn: explicit ones with the variables and statements of a `Rule`.

They are Brian2's `Synapses`, with a weight ``w`` and the rule's variables for each of
them, and the rule's parameters and the ``reward`` for all. What a spike of the target
does (``on_post``) comes last in a step, in the slot ``synapses``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import CodeRunner

from cnn2snn_brian.brian.droppable import droppable
from cnn2snn_brian.description.plasticity import Rule
from cnn2snn_brian.layers.synapse_order import to_synapses

__all__ = ["TrialEnd", "end_trial", "options_of", "set_rule"]


def options_of(rule: Rule, on_pre: str, dtype: npt.DTypeLike) -> dict[str, Any]:
    """
    Give what Brian2's `Synapses` need to learn.

    Parameters
    ----------
    rule : Rule
        The rule.
    on_pre : str
        How a spike acts on the target.
    dtype : dtype
        Type of the weights and of the rule's variables. Parameters and times of events
        are doubles.

    Returns
    -------
    dict
        ``model``, ``on_pre``, ``on_post`` and ``dtype`` of `Synapses`.
    """
    own = np.dtype(dtype).type
    return {
        "model": rule.equations,
        "on_pre": f"{on_pre}\n{rule.on_pre}",
        "on_post": rule.on_post or None,
        "dtype": dict.fromkeys(("w", *rule.variables), own),
    }


def set_rule(synapses: Any, rule: Rule, layer: Any, weights: Any = None) -> None:
    """
    Give synapses the parameters of their rule, and weights.

    Parameters
    ----------
    synapses : Synapses
        Synapses that were made with `options_of`.
    rule : Rule
        The rule with its values.
    layer : Linear, Conv2d, AvgPool2d or Pooled
        Their layer.
    weights : ndarray of float, optional
        Weights in the order that users see.
    """
    for what, value in rule.parameters.items():
        setattr(synapses, what, value)
    if weights is not None:
        synapses.w = to_synapses(layer, weights)


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
    """
    Do what a rule does at the end of a trial, in Brian2's runtime mode.

    Parameters
    ----------
    synapses : Synapses
        The synapses that learn.
    rule : Rule
        Their rule.
    reward : float
        Reward of the trial.
    """
    synapses.reward = reward
    if not rule.on_trial_end:
        return
    runner = getattr(synapses, "_trial_end", None)
    if runner is None:
        runner = synapses._trial_end = droppable(TrialEnd)(synapses, rule)
        runner.before_run({})
    runner.run()
