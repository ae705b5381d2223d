"""
Models of neurons: what the neurons of a converted network compute.

A `NeuronModel` is an object that can be replaced: Brian2 equations, threshold, reset,
what a spike does to its target, and parameters with their values. `IF`, `LIF` and
`ConductanceLIF` are ready-made. Values of parameters are run-time inputs of a compiled
program; everything else of a model is its structure, see `NeuronModel.structure`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from brian2 import DimensionMismatchError, Equations, Quantity, get_dimensions, ms
from brian2.equations.equations import EquationError
from brian2.units import have_same_dimensions, second

from cnn2snn_brian.errors import InputError

__all__ = ["IF", "LIF", "ConductanceLIF", "NeuronModel"]

#: Names that all neurons have; a model can read them and declares none of them.
RESERVED = (
    "v_th",
    "v_min",
    "leak",
    "bias",
    "input_scale",
    "output_scale",
    "release_probability",
    "refractory_period",
    "lesioned",
)

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
    reset : str, optional
        What a spike does to its neuron; without it the ``reset`` of `convert` holds.
    on_pre : str
        What a spike does to a target: statements with the weight as ``w`` and the
        target's variables as ``v_post``.
    parameters : mapping of str to float or Quantity
        Further numbers that the equations use, one for all neurons of a layer.
    initial : mapping of str to float or Quantity
        Values of variables at a picture's start; 0 without one. That of ``v`` is
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
    reset: str | None = None
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
            message = f"neurons: the equations can't be read: {wrong}"
            raise InputError(message) from wrong
        declared = set(equations.names)
        if "v" not in declared or not equations.dimensions["v"].is_dimensionless:
            message = (
                "neurons: the equations have no variable v without unit, the membrane "
                f"potential; they have {', '.join(sorted(declared)) or 'none'}"
            )
            raise InputError(message)
        twice = sorted(
            (declared & set(RESERVED))
            | (declared & set(self.parameters))
            | (set(self.parameters) & set(RESERVED))
        )
        if twice:
            message = (
                f"neurons: {', '.join(twice)} is declared twice; all neurons have "
                f"{', '.join(RESERVED)}, and parameters are not part of the equations"
            )
            raise InputError(message)
        unknown = sorted(set(self.initial) - (declared - {"v"}))
        if unknown:
            message = (
                f"neurons: initial values of {', '.join(unknown)}; expected variables "
                "of the equations other than v, which starts at v_init"
            )
            raise InputError(message)
        for what, value in {**self.parameters, **self.initial}.items():
            if np.ndim(value) or not np.isfinite(np.asarray(value, float)):
                message = f"neurons: {what} is {value}, expected one finite number"
                raise InputError(message)
        if self.refractory is None:
            object.__setattr__(self, "refractory", 0.0)
        period = self.refractory
        is_time = np.ndim(period) == 0 and (
            have_same_dimensions(period, second) or float(period) == 0
        )
        if not is_time or not 0 <= float(period) < np.inf:
            message = f"neurons: refractory is {period}, expected a time of at least 0"
            raise InputError(message)
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
        return (
            self.model,
            self.threshold,
            self.reset,
            self.on_pre,
            self.noise,
            self.method,
            self.floor,
            self.factor,
            tuple((name, repr(value)) for name, value in self.initial.items()),
        )

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.name}({values})"


def _unit(value: Any) -> str:
    """Write a value's unit as Brian2's equations do."""
    dimensions = get_dimensions(value)
    return "1" if dimensions.is_dimensionless else repr(dimensions)


def _checked(what: str, value: Any, dimensions: Any, *, least: float | None = 0) -> Any:
    """Check a parameter of a ready-made model."""
    if np.ndim(value) or not have_same_dimensions(value, dimensions):
        kind = "time" if dimensions is second else "number"
        message = f"neurons: {what} is {value}, expected a {kind}"
        raise InputError(message)
    number = float(value)
    if not np.isfinite(number) or (least is not None and number <= least):
        message = f"neurons: {what} is {value}, expected above {least}"
        raise InputError(message)
    return value


def _sigma(sigma: float) -> dict[str, float]:
    if isinstance(sigma, Quantity) or not 0 <= float(sigma) < np.inf:
        message = f"neurons: sigma is {sigma}, expected a number of at least 0"
        raise InputError(message)
    return {"sigma": float(sigma)} if sigma > 0 else {}


def IF(*, refractory: Any = None, sigma: float = 0.0) -> NeuronModel:
    r"""
    Integrate-and-fire neurons, the paper's.

    Parameters
    ----------
    refractory : Quantity [s], optional
        For so long after a spike, ``v`` stays as the reset left it and input is lost.
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
    noise = _sigma(sigma)
    probe = NeuronModel("v : 1", refractory=refractory)
    return NeuronModel(
        # Only a differential equation can stand still while a neuron is refractory.
        f"dv/dt = 0 * v / second : 1 {UNLESS}" if probe.has_refractory else "v : 1",
        parameters=noise,
        noise="sigma * v_th * sqrt(dt / ms) * randn()" if noise else None,
        method="euler" if probe.has_refractory else None,
        refractory=probe.refractory,
        factor="1",
        name="IF",
    )


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
        For so long after a spike, ``v`` stays as the reset left it and input is lost.
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
    noise = _sigma(sigma)
    return NeuronModel(
        f"dv/dt = -v / tau : 1 {UNLESS}",
        parameters={"tau": _checked("tau", tau, second), **noise},
        noise=(
            "sigma * v_th * sqrt(tau / (2 * ms) * (1 - exp(-2 * dt / tau))) * randn()"
            if noise
            else None
        ),
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
        For so long after a spike, ``v`` stays as the reset left it. Conductances go on.
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
    noise = _sigma(sigma)
    _checked("e_reversal", e_reversal, 1, least=1)
    if not _checked("i_reversal", i_reversal, 1, least=None) < 0:
        message = f"neurons: i_reversal is {i_reversal}, expected below 0"
        raise InputError(message)
    return NeuronModel(
        f"""
        dv/dt = -v / tau + g_e / tau_e * (1 - v / (e_reversal * v_th))
                - g_i / tau_i * (1 - v / (i_reversal * v_th)) : 1 {UNLESS}
        dg_e/dt = -g_e / tau_e : 1
        dg_i/dt = -g_i / tau_i : 1
        """,
        on_pre="g_e_post += clip(w, 0, inf)\ng_i_post += clip(-w, 0, inf)",
        parameters={
            "tau": _checked("tau", tau, second),
            "tau_e": _checked("tau_e", tau_e, second),
            "tau_i": _checked("tau_i", tau_i, second),
            "e_reversal": float(e_reversal),
            "i_reversal": float(i_reversal),
            **noise,
        },
        noise="sigma * v_th * sqrt(dt / ms) * randn()" if noise else None,
        method="exponential_euler",
        refractory=refractory,
        name="ConductanceLIF",
    )
