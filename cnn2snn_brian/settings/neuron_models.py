"""
Models of neurons: what the neurons of a converted network compute.

A `NeuronModel` is an object that can be replaced: Brian2 equations, threshold, reset,
what a spike does to its target, and parameters with their values. `IF`, `LIF`,
`ConductanceLIF`, `AdaptiveIF` and `BurstIF` are ready-made. Values of parameters are
run-time inputs of a compiled program; everything else of a model is its structure, see
`NeuronModel.structure`.
"""

import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from brian2 import DimensionMismatchError, Equations, get_dimensions, second
from brian2.equations.equations import EquationError
from brian2.utils.logger import brian_excepthook

from cnn2snn_brian.checks import seconds
from cnn2snn_brian.errors import ConversionError, InputError
from cnn2snn_brian.settings.parameters import NUMBERS
from cnn2snn_brian.settings.settings import FrozenDict


def _hook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    is_ours = isinstance(error, ConversionError)
    hook = sys.__excepthook__ if is_ours else brian_excepthook
    hook(kind, error, traceback)


def narrow_brians_hook() -> None:
    """Let Brian2's hook see no errors of ours; a hook of somebody else stays."""
    if sys.excepthook is brian_excepthook:
        sys.excepthook = _hook


narrow_brians_hook()

#: Names that all neurons have; a model can read them and declares none of them.
RESERVED = (
    *(number.variable for number in NUMBERS.values()),
    "bias",
    "input_scale",
    "output_scale",
    "release_probability",
    "refractory_period",
    "lesion",
    "lesioned",
    # What a group says of itself, for `connect_convolution`.
    "shape",
    "on_pre",
)

#: What a spike does to its neuron, by the ``reset`` of `convert`.
RESETS = {"zero": "v = 0", "subtract": "v -= v_th"}

#: In equations, for variables that stand still during the refractory period.
UNLESS = "(unless refractory)"


#: What neurons that send several spikes at once do with each event.
BURST_RESETS = ("v -= burst * v_th", "v -= burst * v_th\nsent += burst")


def read_equations(where: str, text: str) -> Equations:
    """Let Brian2 read equations."""
    try:
        return Equations(text)
    except (EquationError, SyntaxError, ValueError, DimensionMismatchError) as wrong:
        raise InputError(f"{where}: the equations can't be read: {wrong}") from wrong


class BrianCode:
    """Brian2 code with numbers that can change, of neurons or of synapses."""

    parameters: Mapping[str, Any]
    initial: Mapping[str, Any]
    name: str

    def _check(
        self, where: str, declared: Set[str], start: str, reserved: Any, fits: Any
    ) -> None:
        """Check names and numbers; `start` is a variable with another start."""
        parameters = set(self.parameters)
        if twice := (declared | parameters) & {*reserved} | (declared & parameters):
            raise InputError(
                f"{where}: {', '.join(sorted(twice))} is declared twice; all have "
                f"{', '.join(reserved)}, and parameters are not part of the equations"
            )
        if unknown := sorted(set(self.initial) - (declared - {start})):
            raise InputError(
                f"{where}: initial values of {', '.join(unknown)}; expected variables "
                "of the equations; v starts at v_init, w at the CNN's weights"
            )
        for what, value in {**self.parameters, **self.initial}.items():
            if np.ndim(value) or not fits(np.asarray(value, float)):
                raise InputError(f"{where}: {what} is {value}, expected one number")
        # Copies, which can't be changed once they are checked.
        for what in ("parameters", "initial"):
            object.__setattr__(self, what, FrozenDict(getattr(self, what)))

    @property
    def values(self) -> Mapping[str, Any]:
        """All parameters with their values."""
        return self.parameters

    def _with_values(self, *equations: str) -> str:
        """Add declarations of the parameters to equations."""
        units = {name: get_dimensions(value) for name, value in self.values.items()}
        declared = (
            f"{name} : {1 if unit.is_dimensionless else repr(unit)} (shared)"
            for name, unit in units.items()
        )
        return "\n".join([*equations, *declared])

    @property
    def _initial_structure(self) -> tuple[Any, ...]:
        return tuple(
            (name, float(value), repr(get_dimensions(value)))
            for name, value in self.initial.items()
        )

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.name}({values})"


@dataclass(frozen=True)
class NeuronModel(BrianCode):
    """
    What a neuron computes, in Brian2's language.

    In each step the equations are integrated, then constant inputs and noise are added
    to ``v``; a neuron where the threshold's condition holds spikes and is reset, ``v``
    is held at ``v_min``, and after that spikes act on their targets. The equations can
    read ``v_th``, ``v_min`` and ``leak``, one number each for a layer.

    Attributes
    ----------
    equations : str
        Brian2 equations. They have a variable ``v`` without unit; ``(unless
        refractory)`` after a differential equation stops it, and what synapses add to
        its variable, for the refractory period.
    threshold : str
        Condition for a spike.
    reset : str or dict of str to str, optional
        What a spike does to its neuron; without it the ``reset`` of `convert` holds. A
        dict has a statement for each of them, ``{"zero": ..., "subtract": ...}``.
    on_pre : str
        What a spike does to a target: statements with the weight as ``w`` and the
        target's variables as ``v_post``.
    parameters : mapping of str to float or Quantity
        Further numbers that the equations use, one for all neurons of a layer.
    initial : mapping of str to float or Quantity
        Values of variables at an image's start; 0 without one. That of ``v`` is
        ``v_init`` of `convert`.
    noise : str, optional
        Expression that is added to ``v`` in each step, with ``randn()`` for a new
        normal number for each neuron.
    method : str, optional
        Brian2's numerical method; Brian2 chooses one without it.
    refractory : Quantity [s], optional
        Refractory period; 0 if there is none.
    floor : bool
        Whether ``v`` is held at ``v_min``.
    size : str, optional
        Expression that says how many spikes an event of a neuron is. Each neuron has it
        as ``burst`` from just before the threshold on, which can read it. Weights count
        so many times, and so does the event in a result. Without it, an event is a
        spike.
    most : int
        Largest size of an event.
    signed : bool
        Whether sizes may be below 0: spikes are taken back.
    factor : str, optional
        If the equations do nothing in a step but multiply ``v`` by a number, that
        number, as an expression. Compiled programs then need one pass for all that
        neurons do. It is not used with noise or a refractory period.
    name : str
        Name of the model, for tables and plots: ``"IF"``, ``"LIF"`` and so on for those
        that come along.

    Raises
    ------
    InputError
        If the equations can't be read, have no ``v`` without unit or declare a name
        twice, or the refractory period is negative or not a time.

    Examples
    --------
    An adaptive threshold, which each spike raises by ``step``:

    >>> from brian2 import ms
    >>> adaptive = NeuronModel(
    ...     '''dv/dt = -v / tau : 1
    ...     da/dt = -a / tau_a : 1''',
    ...     threshold="v >= v_th + a",
    ...     reset="v = 0; a += step * v_th",
    ...     parameters={"tau": 20 * ms, "tau_a": 50 * ms, "step": 0.1},
    ...     method="exact",
    ... )
    """

    equations: str
    threshold: str = "v >= v_th"
    reset: str | Mapping[str, str] | None = None
    on_pre: str = "v_post += w"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    noise: str | None = None
    method: str | None = None
    refractory: Any = 0.0
    floor: bool = True
    size: str | None = None
    most: int = 1
    signed: bool = False
    factor: str | None = None
    name: str = "own"

    def __post_init__(self) -> None:
        equations = read_equations("neurons", self.equations)
        names = equations.names
        if "v" not in names or not equations.dimensions["v"].is_dimensionless:
            raise InputError(
                "neurons: the equations have no variable v without unit, the membrane "
                f"potential; they have {', '.join(sorted(names)) or 'none'}"
            )
        reserved = RESERVED if self.size is None else (*RESERVED, "burst")
        self._check("neurons", names, "v", reserved, np.isfinite)
        if isinstance(self.reset, Mapping):
            if set(self.reset) != set(RESETS):
                raise InputError(
                    f"neurons: reset has statements for {', '.join(self.reset)}; "
                    f"expected {' and '.join(RESETS)}, or one statement"
                )
            object.__setattr__(self, "reset", FrozenDict(self.reset))
        period = 0.0 if self.refractory is None else self.refractory
        period = seconds("neurons: refractory", period, plain=False, least=0)
        # Always a time: Brian2 does not compare a time with a number.
        object.__setattr__(self, "refractory", period * second)

    @property
    def has_refractory(self) -> bool:
        """Whether there is a refractory period."""
        return float(self.refractory) > 0

    @property
    def is_one_pass(self) -> bool:
        """Whether a compiled program updates the neurons in one vectorised pass."""
        code = self.threshold, self.reset_for("subtract")
        known = [("v >= v_th", RESETS["subtract"])] if self.reset is None else []
        if self.size is not None:
            known = [("burst != 0", reset) for reset in BURST_RESETS]
        return (
            self.factor is not None
            and code in known
            and self.noise is None
            and self.floor
            and not self.has_refractory
        )

    def __str__(self) -> str:
        if self.size is None:
            return super().__str__()
        values = [f"most={self.most}"] + ["signed=True"] * self.signed
        return f"{self.name}({', '.join(values)})"

    def reset_for(self, kind: str) -> str:
        """
        Say what a spike does to its neuron.

        Parameters
        ----------
        kind : {"zero", "subtract"}
            The ``reset`` of `convert`.

        Returns
        -------
        str
            Statements in Brian2's language.
        """
        if self.reset is None:
            return RESETS[kind]
        return self.reset if isinstance(self.reset, str) else self.reset[kind]

    @property
    def values(self) -> dict[str, Any]:
        """All parameters with their values, the refractory period among them."""
        period = {"refractory_period": self.refractory}
        return {**self.parameters, **(period if self.has_refractory else {})}

    @property
    def model(self) -> str:
        """The equations as Brian2 gets them, with the parameters declared."""
        equations = self.equations
        if not self.has_refractory:
            equations = equations.replace(UNLESS, "")
        own = [] if self.size is None else ["burst : 1"]
        return self._with_values(equations, *own)

    @property
    def structure(self) -> dict[str, Any]:
        """What a compiled program depends on: everything but parameters' values."""
        values = ("equations", "parameters", "initial", "refractory", "name")
        kept = {name: item for name, item in vars(self).items() if name not in values}
        return {**kept, "model": self.model, "initial": self._initial_structure}
