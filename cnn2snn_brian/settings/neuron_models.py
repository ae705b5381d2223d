"""
Models of neurons: what the neurons of a converted network compute.

A `NeuronModel` is an object that can be replaced: Brian2 equations, threshold, reset,
what a spike does to its target, and parameters with their values. `IF`, `LIF`,
`ConductanceLIF` and `AdaptiveIF` are ready-made. Values of parameters are run-time
inputs of a compiled program; everything else of a model is its structure, see
`NeuronModel.structure`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from brian2 import DimensionMismatchError, Equations, get_dimensions
from brian2.equations.equations import EquationError
from brian2.units import have_same_dimensions, second
from brian2.utils.logger import brian_excepthook

from cnn2snn_brian.errors import ConversionError, InputError
from cnn2snn_brian.settings.parameters import Parameters
from cnn2snn_brian.settings.settings import FrozenDict, LayerNumber, described


def _hook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if isinstance(error, ConversionError):
        sys.__excepthook__(kind, error, traceback)
    else:
        brian_excepthook(kind, error, traceback)


def narrow_brians_hook() -> None:
    """Let Brian2's hook see no errors of ours; a hook of somebody else stays."""
    if sys.excepthook is brian_excepthook:
        sys.excepthook = _hook


narrow_brians_hook()

#: Names that all neurons have; a model can read them and declares none of them.
RESERVED = (
    *(
        item.variable
        for item in described(Parameters).values()
        if isinstance(item, LayerNumber)
    ),
    "bias",
    "input_scale",
    "output_scale",
    "release_probability",
    "refractory_period",
    "lesion",
    "lesioned",
)

#: What a spike does to its neuron, by the ``reset`` of `convert`.
RESETS = {"zero": "v = 0", "subtract": "v -= v_th"}

#: In equations, for variables that stand still during the refractory period.
UNLESS = "(unless refractory)"


@dataclass(frozen=True)
class NeuronModel:
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
        refractory)`` behind a differential equation stops it, and what synapses add to
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
        Refractory period; 0 for none.
    floor : bool
        Whether ``v`` is held at ``v_min``.
    factor : str, optional
        If the equations do nothing in a step but multiply ``v`` by a number, that
        number, as an expression. Compiled programs then need one pass for all that
        neurons do. It is not used with noise or a refractory period.
    name : str
        Name of the model, for tables and plots.

    Raises
    ------
    InputError
        If the equations can't be read, have no ``v`` without unit or declare a name
        twice, or the refractory period is no time of at least 0.

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
    factor: str | None = None
    name: str = "own"

    def __post_init__(self) -> None:
        try:
            equations = Equations(self.equations)
        except (
            EquationError,
            SyntaxError,
            ValueError,
            DimensionMismatchError,
        ) as wrong:
            raise InputError(
                f"neurons: the equations can't be read: {wrong}"
            ) from wrong
        declared = set(equations.names)
        if "v" not in declared or not equations.dimensions["v"].is_dimensionless:
            raise InputError(
                "neurons: the equations have no variable v without unit, the membrane "
                f"potential; they have {', '.join(sorted(declared)) or 'none'}"
            )
        twice = sorted(
            (declared & set(RESERVED))
            | (declared & set(self.parameters))
            | (set(self.parameters) & set(RESERVED))
        )
        if twice:
            raise InputError(
                f"neurons: {', '.join(twice)} is declared twice; all neurons have "
                f"{', '.join(RESERVED)}, and parameters are not part of the equations"
            )
        if isinstance(self.reset, Mapping):
            if set(self.reset) != set(RESETS):
                raise InputError(
                    f"neurons: reset has statements for {', '.join(self.reset)}; "
                    f"expected {' and '.join(RESETS)}, or one statement"
                )
            object.__setattr__(self, "reset", FrozenDict(self.reset))
        unknown = sorted(set(self.initial) - (declared - {"v"}))
        if unknown:
            raise InputError(
                f"neurons: initial values of {', '.join(unknown)}; expected variables "
                "of the equations other than v, which starts at v_init"
            )
        # Copies that can't be changed behind the checks.
        object.__setattr__(self, "parameters", FrozenDict(self.parameters))
        object.__setattr__(self, "initial", FrozenDict(self.initial))
        for what, value in {**self.parameters, **self.initial}.items():
            if np.ndim(value) or not np.isfinite(np.asarray(value, float)):
                raise InputError(
                    f"neurons: {what} is {value}, expected one finite number"
                )
        if self.refractory is None:
            object.__setattr__(self, "refractory", 0.0)
        period = self.refractory
        is_time = np.ndim(period) == 0 and (
            have_same_dimensions(period, second) or float(period) == 0
        )
        if not is_time or not 0 <= float(period) < np.inf:
            raise InputError(
                f"neurons: refractory is {period}, expected a time of at least 0"
            )
        # Always a time: Brian2 does not compare a time with a number.
        object.__setattr__(self, "refractory", float(period) * second)

    @property
    def has_refractory(self) -> bool:
        """Whether there is a refractory period."""
        return float(self.refractory) > 0

    @property
    def is_one_pass(self) -> bool:
        """Whether a compiled program updates the neurons in one vectorised pass."""
        return (
            self.factor is not None
            and self.threshold == "v >= v_th"
            and self.reset is None
            and self.noise is None
            and self.floor
            and not self.has_refractory
        )

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
        declared = [
            f"{name} : {_unit(value)} (shared)" for name, value in self.values.items()
        ]
        return "\n".join([equations, *declared])

    @property
    def structure(self) -> tuple[Any, ...]:
        """What a compiled program depends on: everything but parameters' values."""
        reset = self.reset
        return (
            self.model,
            self.threshold,
            tuple(sorted(reset.items())) if isinstance(reset, Mapping) else reset,
            self.on_pre,
            self.noise,
            self.method,
            self.floor,
            self.factor,
            tuple(
                (name, float(value), repr(get_dimensions(value)))
                for name, value in self.initial.items()
            ),
        )

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.name}({values})"


def _unit(value: Any) -> str:
    """Write a value's unit as Brian2's equations do."""
    dimensions = get_dimensions(value)
    return "1" if dimensions.is_dimensionless else repr(dimensions)
