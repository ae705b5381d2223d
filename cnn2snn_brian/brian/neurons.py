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

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from brian2 import Clock, CodeRunner, NeuronGroup

from cnn2snn_brian.brian.codeobjects import droppable, own_code_object_class
from cnn2snn_brian.brian.internals import Subexpression, Variables, get_identifiers
from cnn2snn_brian.checks import check_choice
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


class Place(NamedTuple):
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


class Schedule(NamedTuple):
    """
    Places of what a population does in a step, in order; by default one step later.

    Equations, leak and constant input come before all of it, in the slot ``groups``.

    Attributes
    ----------
    synapses : Place
        Spikes of the layers before act on this population.
    size : Place
        Of neurons that send several spikes at once, how many.
    threshold : Place
        Neurons spike. Brian2's place for an input is the same.
    perturbation : Place
        Spikes are lost, and lesioned neurons silenced, in a compiled program.
    reset : Place
        Neurons that spiked are reset.
    floor : Place
        Potentials are held at their floor.
    """

    synapses: Place = Place("synapses", 0)
    size: Place = Place("thresholds", -1)
    threshold: Place = Place("thresholds", 0)
    perturbation: Place = Place("after_thresholds", -1)
    reset: Place = Place("after_thresholds", 0)
    floor: Place = Place("after_thresholds", 1)

    @classmethod
    def of(cls, propagation: Propagation, index: int) -> "Schedule":
        """Place a population, the input being 0 in the order of the data."""
        if propagation == "step":
            return cls()
        orders = range(APART * index - 2, APART * index + 4)
        return cls(*(Place("thresholds", order) for order in orders))


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
output_scale = input_scale / {reference} : 1 (shared)
"""

#: For synapses that fail: the probability that a spike is transmitted.
RELEASE_MODEL = "release_probability : 1 (shared)\n"

#: Neurons that a compiled program updates together.
BLOCK = 64

#: Everything one step later.
STEP = Schedule()

#: No potential is below this.
FLOOR = "v = clip(v, v_min, inf)"

#: For lesions: neurons that do not spike.
LESION_MODEL = "lesioned : boolean\n"


def burst_before(steps: int) -> str:
    """Name the variable with the sizes of events so many steps ago."""
    return f"burst_{steps}" if steps else "burst"


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
    burst : str
        Size and reset of neurons that send bursts, also where there is none; empty for
        others.
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
        burst: str,
        subtract: bool,
        factor: str = "1",
        place: Place,
        channels: int | None = None,
    ) -> None:
        leaky, dtype = factor != "1", group.variables["v"].dtype
        code = {"_factor": factor} if leaky else {}
        code["_constant"] = constant
        lines = [f"{name} = {value}" for name, value in code.items()]
        if burst:
            decayed = "v * _factor" if leaky else "v"
            lines += [f"v = {decayed} + (leak + _constant)", burst, FLOOR]
        CodeRunner.__init__(
            self,
            group,
            "if_update",
            code="\n".join(lines),
            clock=group.clock,
            when=place.when,
            order=place.order,
            name=f"{group.name}_update",
            template_kwds={
                "burst": bool(burst),
                "subtract": subtract,
                "leaky": leaky,
                "by_channel": channels is not None,
                # Then a block of neurons has the numbers of the first one.
                "is_periodic": channels is not None and BLOCK % channels == 0,
                "block": BLOCK,
                "has_flags": dtype == np.float32,
            },
            needed_variables=["leak"],
            codeobj_class=own_code_object_class(),
        )
        self.variables = Variables(self)
        for name in code:
            self.variables.add_auxiliary_variable(name, dtype=dtype)


def link_scale(group: NeuronGroup, before: NeuronGroup) -> None:
    """Let the scale of a group follow the thresholds of all layers before."""
    # `linked_var` does the same, but gives names that double with each layer.
    variables, theirs = group.variables, before.variables
    reference = "v_ref" if "v_ref" in theirs else "v_th"
    mine = {f"_of_{before.name}_{what}": what for what in ("input_scale", reference)}
    mine |= {name: name for name in theirs if name.startswith("_of_")}
    ratio = " / ".join([*mine][:2])
    dtype = theirs["output_scale"].dtype
    for name, what in mine.items():
        if isinstance(theirs[what], Subexpression):
            expr = theirs[what].expr
            variables.add_subexpression(name, expr=expr, dtype=dtype, scalar=True)
        else:
            variables.add_reference(name, before, what, index="0")
    variables.add_subexpression("input_scale", expr=ratio, dtype=dtype, scalar=True)


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
    remembered: int = 0,
) -> NeuronGroup:
    """Make a population of neurons, by default of Eq. 1 of the paper [1]_."""
    check_choice("reset", reset, tuple(RESETS))
    neuron = model or IF()
    by_channel, has_constant = channels is not None, constant_input != "none"
    own = (BY_CHANNEL_MODEL if by_channel else LAYER_MODEL).values()
    equations = "\n".join([neuron.model, *own, ""])
    equations += RELEASE_MODEL if failing else ""
    equations += LESION_MODEL if lesions else ""
    if has_constant:
        reference = "v_ref" if by_channel else "v_th"
        equations += CONSTANT_INPUT_MODEL.format(reference=reference)
        equations += "input_scale : 1 (shared)\n" if constant_input == "first" else ""
    elif "bias" in get_identifiers(neuron.model):
        # All neurons have these, as far as a model can tell.
        equations += "bias : 1 (shared)\ninput_scale : 1 (shared)\n"
    past = [burst_before(steps) for steps in range(remembered + 1)]
    equations += "".join(f"{variable} : 1\n" for variable in past[1:])
    options: dict[str, Any] = {}
    if neuron.has_refractory:
        options["refractory"] = "refractory_period"
    if neuron.method is not None:
        options["method"] = neuron.method
    healthy = f"({neuron.threshold}) and not lesioned" if lesions else neuron.threshold
    group = droppable(NeuronGroup)(
        n,
        equations,
        threshold=healthy,
        reset=neuron.reset_for(reset),
        clock=clock,
        name=name,
        dtype=np.dtype(dtype).type,
        **options,
    )
    parts = group.thresholder["spike"], group.resetter["spike"]
    is_burst = neuron.size is not None
    is_one_pass = for_program and neuron.is_one_pass and not lesions
    # What passes a gate is all of a burst.
    is_one_pass = is_one_pass and not (is_burst and reset == "zero")

    def regularly(what: str, code: str, place: Place) -> None:
        if code:
            when, order, full = *place, f"{name}_{what}"
            group.run_regularly(code, when=when, order=order, clock=clock, name=full)

    size = f"burst = {neuron.size}" if is_burst else ""
    # For synapses with a delay.
    moved = [f"{to} = {of}" for to, of in zip(past[:0:-1], past[-2::-1], strict=True)]
    regularly("past", "\n".join(moved), Place("groups", -1))
    if is_one_pass:
        # What arrives within a step must not decay in it: the equations come before.
        apart = schedule != STEP and neuron.factor != "1"
        update = OnePassUpdate(
            group,
            "input_scale * bias" if has_constant else "0",
            burst=f"{size}\n{neuron.reset_for(reset)}" if is_burst else "",
            subtract=reset == "subtract",
            channels=channels,
            factor="1" if apart else str(neuron.factor),
            place=schedule.threshold,
        )
        for part in parts if apart else (*parts, group.state_updater):
            group.contained_objects.remove(part)
        group.contained_objects.append(update)
        return group
    for part, place in zip(parts, (schedule.threshold, schedule.reset), strict=True):
        part.when, part.order = place
    added = "leak + input_scale * bias" if has_constant else "leak"
    added += "" if neuron.noise is None else f" + {neuron.noise}"
    # After the reset: a neuron that has just spiked is not below v_min <= 0.
    floors = [FLOOR] if neuron.floor else []
    floors += ["v = v * int(not lesioned)"] if lesions else []
    # After the equations, which are integrated in the same slot.
    regularly("constant_input", f"v += {added}", Place("groups", 1))
    regularly("burst", size, schedule.size)
    regularly("floor", "\n".join(floors), schedule.floor)
    return group
