"""
Neurons of a converted network: groups of a `NeuronModel`.

The membrane potential ``v`` has no unit. A neuron that reaches ``v_th`` is set back to
0 (or by ``v_th``), and ``v`` never falls below ``v_min`` (Eq. 1 of the paper). In a
step of Brian2 these things happen in this order:

1. ``groups``: the model's equations are integrated, then constant input and noise are
   added to ``v``
2. ``thresholds``: neurons with ``v >= v_th`` spike
3. ``after_thresholds``: they are reset, and ``v`` is held at ``v_min``
4. ``synapses``: spikes add weights to the ``v`` of their targets

Brian2's own place for resets is *after* the synapses, where a reset to 0 would wipe
out the input that arrives in the step of a spike.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from brian2 import Clock, CodeRunner, NeuronGroup

from cnn2snn_brian.brian.codeobjects import droppable, own_code_object_class
from cnn2snn_brian.brian.internals import Variables
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import (
    IF,
    RESETS,
    LayerNumber,
    NeuronModel,
    Parameters,
    Propagation,
    Reset,
    described,
)

#: Between the orders of two populations: their synapses, threshold, reset and floor.
APART = 10


@dataclass(frozen=True)
class Place:
    """
    A place in Brian2's schedule.

    Attributes
    ----------
    when : str
        The slot of a step.
    order : int
        The order within the slot.
    """

    when: str
    order: int


@dataclass(frozen=True)
class Schedule:
    """
    Places of what a population does in a step.

    Equations, leak and constant input come before all of it, in the slot ``groups``.

    Attributes
    ----------
    propagation : {"step", "instant"}
        Whether a spike acts on the next layer in the next step, or in the same one.
    index : int
        Index of the population in the order of the data; the input is 0.
    """

    propagation: Propagation = "step"
    index: int = 0

    def _place(self, when: str, order: int, within: int) -> Place:
        if self.propagation == "step":
            return Place(when, order)
        return Place("thresholds", APART * self.index + within)

    @property
    def synapses(self) -> Place:
        """Spikes of the layers before act on this population."""
        return self._place("synapses", 0, -1)

    @property
    def threshold(self) -> Place:
        """Neurons spike. Brian2's place for an input is the same."""
        return self._place("thresholds", 0, 0)

    @property
    def perturbation(self) -> Place:
        """Spikes are lost, and lesioned neurons silenced, in a compiled program."""
        return self._place("after_thresholds", -1, 1)

    @property
    def reset(self) -> Place:
        """Neurons that spiked are reset."""
        return self._place("after_thresholds", 0, 2)

    @property
    def floor(self) -> Place:
        """Potentials are held at their floor."""
        return self._place("after_thresholds", 1, 3)


#: Numbers of a layer are variables, not constants, so that a compiled run can change
#: them.
LAYER_MODEL = {
    kind.variable: f"{kind.variable} : 1 (shared)"
    for kind in described(Parameters).values()
    if isinstance(kind, LayerNumber) and not kind.is_start
}

#: Numbers that may differ between channels.
BY_CHANNEL_MODEL = {
    **LAYER_MODEL,
    "v_th": "v_th : 1\nv_ref : 1 (shared)",
    "leak": "leak : 1",
}

#: For networks with constant inputs. A bias belongs to activations, a neuron counts
#: spikes: an activation of 1 in the layer before is `input_scale` spikes per step
#: there, and one of this layer `output_scale` spikes per step here. The scales are
#: linked from layer to layer, so that all biases follow when a threshold changes.
CONSTANT_INPUT_MODEL = """
bias : 1
input_scale : 1 {link}
output_scale = input_scale / {reference} : 1 (shared)
"""

#: For synapses that fail: the probability that a spike is transmitted.
RELEASE_MODEL = "release_probability : 1 (shared)\n"

#: Neurons that a compiled program updates together.
BLOCK = 64

#: Everything one step later.
STEP = Schedule()

#: For lesions: neurons that do not spike.
LESION_MODEL = "lesioned : boolean\n"


class OnePassUpdate(CodeRunner):  # type: ignore[misc]
    """
    All that neurons do in a step of C++ standalone mode, in one vectorised pass.

    It does what equations, constant input, threshold, reset and floor of `if_neurons`
    do one after another.

    Parameters
    ----------
    group : NeuronGroup
        The neurons.
    constant : str
        What is added to ``v`` in each step besides the leak, an expression.
    subtract : bool
        Whether a spike takes ``v_th`` from ``v`` instead of setting it to 0.
    factor : str
        What ``v`` is multiplied with before that, an expression.
    place : Place
        When it happens in a step.
    channels : int, optional
        Number of channels, if each has a threshold and a leak of its own; the
        variables have a value for each neuron then.
    """

    def __init__(
        self,
        group: NeuronGroup,
        constant: str,
        *,
        subtract: bool,
        factor: str = "1",
        place: Place,
        channels: int | None = None,
    ) -> None:
        leaky = factor != "1"
        code = f"_constant = {constant}"
        CodeRunner.__init__(
            self,
            group,
            "if_update",
            code=f"_factor = {factor}\n{code}" if leaky else code,
            clock=group.clock,
            when=place.when,
            order=place.order,
            name=f"{group.name}_update",
            template_kwds={
                "subtract": subtract,
                "leaky": leaky,
                "by_channel": channels is not None,
                # Then a block of neurons has the numbers of the first one.
                "is_periodic": channels is not None and BLOCK % channels == 0,
                "block": BLOCK,
                "has_flags": group.variables["v"].dtype == np.float32,
            },
            needed_variables=["leak"],
            codeobj_class=own_code_object_class(),
        )
        self.variables = Variables(self)
        for name in ("_constant", "_factor") if leaky else ("_constant",):
            self.variables.add_auxiliary_variable(
                name, dtype=group.variables["v"].dtype
            )


def if_neurons(
    name: str,
    n: int,
    *,
    clock: Clock,
    reset: Reset = "zero",
    constant_input: Literal["none", "first", "linked"] = "none",
    dtype: npt.DTypeLike = np.float32,
    model: NeuronModel | None = None,
    failing: bool = False,
    lesions: bool = False,
    schedule: Schedule = STEP,
    channels: int | None = None,
    for_program: bool = False,
) -> NeuronGroup:
    """Make a population of neurons, by default of Eq. 1 of the paper [1]_."""
    if reset not in RESETS:
        raise InputError(
            f"reset={reset!r}: expected one of {', '.join(map(repr, RESETS))}"
        )
    neuron = model or IF()
    by_channel = channels is not None
    own = (BY_CHANNEL_MODEL if by_channel else LAYER_MODEL).values()
    equations, constant = "\n".join([neuron.model, *own, ""]), "leak"
    equations += RELEASE_MODEL if failing else ""
    equations += LESION_MODEL if lesions else ""
    if constant_input != "none":
        link = "(shared)" if constant_input == "first" else "(linked)"
        equations += CONSTANT_INPUT_MODEL.format(
            link=link, reference="v_ref" if by_channel else "v_th"
        )
        constant = "leak + input_scale * bias"
    options: dict[str, Any] = {}
    if neuron.has_refractory:
        options["refractory"] = "refractory_period"
    if neuron.method is not None:
        options["method"] = neuron.method
    group = droppable(NeuronGroup)(
        n,
        equations,
        threshold=(
            f"({neuron.threshold}) and not lesioned" if lesions else neuron.threshold
        ),
        reset=neuron.reset_for(reset),
        clock=clock,
        name=name,
        dtype=np.dtype(dtype).type,
        **options,
    )
    if for_program and neuron.is_one_pass and not lesions:
        # What arrives within a step must not decay in it: the equations come before.
        apart = schedule.propagation == "instant" and neuron.factor != "1"
        update = OnePassUpdate(
            group,
            "0" if constant_input == "none" else "input_scale * bias",
            subtract=reset == "subtract",
            channels=channels,
            factor="1" if apart else str(neuron.factor),
            place=schedule.threshold,
        )
        replaced = [group.thresholder["spike"], group.resetter["spike"]]
        replaced += [] if apart else [group.state_updater]
        for part in replaced:
            group.contained_objects.remove(part)
        group.contained_objects.append(update)
        return group
    _in_parts(group, neuron, constant, schedule, lesions=lesions)
    return group


def _in_parts(
    group: NeuronGroup,
    neuron: NeuronModel,
    constant: str,
    schedule: Schedule,
    *,
    lesions: bool,
) -> None:
    """Put threshold, reset, constant input and floor at their places in a step."""
    for part, place in (
        (group.thresholder["spike"], schedule.threshold),
        (group.resetter["spike"], schedule.reset),
    ):
        part.when, part.order = place.when, place.order
    added = constant if neuron.noise is None else f"{constant} + {neuron.noise}"
    # After the equations, which are integrated in the same slot.
    group.run_regularly(
        f"v += {added}",
        when="groups",
        order=1,
        clock=group.clock,
        name=f"{group.name}_constant_input",
    )
    # After the reset: a neuron that has just spiked is not below v_min <= 0.
    floors = ["v = clip(v, v_min, inf)"] if neuron.floor else []
    floors += ["v = v * int(not lesioned)"] if lesions else []
    if floors:
        group.run_regularly(
            "\n".join(floors),
            when=schedule.floor.when,
            order=schedule.floor.order,
            clock=group.clock,
            name=f"{group.name}_floor",
        )
