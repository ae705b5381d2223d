"""
Weight-shared synapses for Brian2: only the kernel is stored, targets are computed.

`Conv2dSynapses`, `PoolSynapses` and `DenseSynapses` are Brian2 objects for anybody's
script. What a spike does is a statement in Brian2's language (``on_pre``), and Brian2
generates its code; the templates of this package only run the loops over the targets,
for C++ standalone, Cython and NumPy.

Neurons of a layer are in the order (y, x, channel), channels last.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import (
    Clock,
    CodeRunner,
    Group,
    Quantity,
    Synapses,
    get_dimensions,
    get_unit,
    ms,
    prefs,
    second,
)

from cnn2snn_brian.brian.codeobjects import own_code_object_class
from cnn2snn_brian.brian.internals import (
    Subexpression,
    Variables,
    check_version,
    get_identifiers,
    word_substitute,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import Connection, Convolution, Runs
from cnn2snn_brian.settings import check_units

#: Variables of the cells that spikes are averaged in.
CELLS = ["_cell_first", "_cell_index", "_cell_share"]

#: Sizes of a table of runs that templates are told.
RUN_SIZES = ["channels", "n_sharing", "post_step", "weight_step"]

#: A statement that only adds a weight, or a weight times a variable of the source.
PLAIN = re.compile(r"(\w+?)(?:_post)?\s*\+=\s*(?:w|\(?(\w+_pre)\s*\*\s*w\)?)")

#: Spikes of a position, on average, from which on sums in registers are faster.
SUMS_FROM = 4

#: Targets in a run from which on they are; a few registers.
SUMS_LENGTH = 32

#: Sums along rows need whole registers, of any processor and both types of numbers.
COLUMN_CHANNELS = 16

#: They keep so many positions in registers, at most.
COLUMN_WIDTH = 8

#: Spikes of a position, on average, from which on they are faster.
COLUMNS_FROM = 0.25

#: The same where the weights of all subsets of the channels are added up before.
SUBSETS_FROM = 0.25

#: Weights of all subsets, at most: they stay in the first-level cache.
SUBSET_WEIGHTS = 2**14


def added_to(
    on_pre: str, variables: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Find what a spike adds a weight to, and what of its source it is times."""
    match = PLAIN.fullmatch(on_pre.strip())
    name, times = (f"{match[1]}_post", match[2]) if match else ("", None)
    used = [variables.get(each) for each in (name, times or name)]
    is_plain = all(
        variable is not None
        and not variable.scalar
        and variable.dtype == variables["w"].dtype
        and getattr(variable, "conditional_write", None) is None
        for variable in used
    )
    return (name, times) if is_plain else (None, None)


def _sums_constants(table: Runs, target: str | None) -> dict[str, Any] | None:
    """Give the sizes for sums in registers, see ``templates/standalone/sums.cpp``."""
    longest = table.length.max(initial=0)
    if target is None or table.n_sharing < SUMS_FROM or longest < SUMS_LENGTH:
        return None
    n_places = len(table.first) - 1
    return {
        "n": n_places * table.channels,
        "target": target,
        "worthwhile": SUMS_FROM * n_places,
    }


def _columns_constants(
    connection: Connection, target: str | None, *, has_sizes: bool
) -> dict[str, Any] | None:
    """Give the sizes for sums along rows, see ``templates/standalone/columns.cpp``."""
    kernel = connection.kernel
    if target is None or not isinstance(kernel, Convolution) or not connection.is_whole:
        return None
    out, _, ky, kx = kernel.weight.shape
    is_plain = kernel.groups == 1 and {*kernel.dilation} == {1}
    if not is_plain or out % COLUMN_CHANNELS or kx > COLUMN_WIDTH:
        return None
    channels, height, width = kernel.input_shape
    n_subsets = 2**channels * ky * kx * out
    has_subsets = connection.window is None and n_subsets <= SUBSET_WEIGHTS
    has_subsets = has_subsets and not has_sizes
    share = SUBSETS_FROM if has_subsets else COLUMNS_FROM
    (pad_y, _), (pad_x, _) = kernel.padding
    stride_y, stride_x = kernel.stride
    _, out_height, out_width = kernel.shape
    return {
        "target": target,
        **{"height": height, "width": width},
        **{"out_height": out_height, "out_width": out_width, "out": out},
        **{"ky": ky, "kx": kx, "pad_y": pad_y, "pad_x": pad_x},
        **{"stride_y": stride_y, "stride_x": stride_x},
        "subsets": has_subsets,
        "worthwhile": max(1, round(share * height * width)),
    }


def constants(
    connection: Connection, table: Runs, on_pre: str, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Give what the templates are told of a connection."""
    target, size = added_to(on_pre, variables)
    has_kernel = connection.kernel is not None
    pool = spread = None
    if connection.window is not None and has_kernel:
        pool = {
            "channels": connection.input_shape[0],
            "n_inputs": math.prod(connection.input_shape),
            "n": math.prod(connection.read_shape),
            "counted": target is not None,
        }
    if not has_kernel and connection.is_whole and target is not None:
        spread = {"target": target}
    return {
        "longest": int(table.length.max(initial=0)),
        **{what: getattr(table, what) for what in RUN_SIZES},
        "pool": pool,
        "sums": _sums_constants(table, target),
        "spread": spread,
        "columns": _columns_constants(connection, target, has_sizes=size is not None),
        "target": target,
        # What a spike is worth, of neurons that send several at once.
        "size": size,
    }


class SharedSynapses(Group, CodeRunner):  # type: ignore[misc]
    """
    Synapses of a layer that share its weights.

    Parameters
    ----------
    source, target : Group
        The populations, or subgroups of them, channels last.
    connection : Connection
        What connects to what, with which weight.
    on_pre : str
        What a spike of the source does: statements on the target's variables (with or
        without the suffix ``_post``), the source's (``_pre``) and the weight ``w``.
    delay : Quantity [s]
        Delay of all synapses, rounded to whole time steps.
    when, order : str, int
        Place in Brian2's schedule.
    clock : Clock, optional
        The clock; that of the source by default.
    name : str
        Name of the object.
    dtype : dtype, optional
        Type of the weights; ``prefs.core.default_float_dtype`` by default.
    unit : Unit
        What the weights of the layer are in.

    Attributes
    ----------
    w : VariableView
        The weights, one dimension, in the order of `Connection.stored`;
        `kernel` has them in torch's order.
    N : int
        Number of synapses that this object stands for.

    Raises
    ------
    InputError
        If the populations have other sizes than the layer, or the delay is below 0.
    TypeError
        If `on_pre` is no string.
    """

    add_to_magic_network = True

    #: What runs the loops, in the folders of ``templates/``.
    _template = "shared_synapses"
    #: Variable of the source with the sizes of its events, where they are counted.
    size: str | None = None

    @check_units(delay=second)
    def __init__(
        self,
        source: Any,
        target: Any,
        connection: Connection,
        *,
        on_pre: str = "v_post += w",
        delay: Quantity = 0 * ms,
        when: str = "synapses",
        order: int = 0,
        clock: Clock | None = None,
        name: str = "sharedsynapses*",
        dtype: npt.DTypeLike | None = None,
        unit: Any = 1,
    ) -> None:
        if not isinstance(on_pre, str):
            raise TypeError(f"on_pre has to be a string, found {type(on_pre).__name__}")
        for what, group, shape in (
            ("source", source, connection.input_shape),
            ("target", target, connection.shape),
        ):
            if len(group) != math.prod(shape):
                raise InputError(
                    f"the {what} {group.name!r} has {len(group)} neurons; a population "
                    f"of shape {'x'.join(map(str, shape))} needs {math.prod(shape)}"
                )
        self.connection, self._cells = connection, connection.cells()
        has_cells = self._cells is not None
        if np.ndim(delay) or not 0 <= float(delay) < math.inf:
            raise InputError(f"the delay is {delay}, expected one time of at least 0")
        check_version()
        # What a spike is worth in a cell that it is averaged in.
        worth = {"w": "(w * _value)"}
        has_values = has_cells or self.size is not None
        code = word_substitute(on_pre, worth) if has_values else on_pre
        needed = CELLS if has_cells else []
        if self.size is not None:
            needed = [*needed, f"{self.size}_pre"]
        self.codeobj_class: Any = None
        CodeRunner.__init__(
            self,
            group=self,
            code=code,
            template=self._template,
            needed_variables=needed,
            clock=source.clock if clock is None else clock,
            when=when,
            order=order,
            name=name,
        )
        self.source, self.target = source, target
        self.on_pre, self._delay = on_pre, delay
        self._runs = connection.runs()
        self._add_variables(np.dtype(dtype or prefs.core.default_float_dtype), unit)
        self.template_kwds = {
            "delay_steps": self._delay_steps,
            **constants(connection, self._runs, on_pre, self.variables),
        }
        self.add_dependency(source)
        self.add_dependency(target)
        # Indices of `w` count weights, not synapses. Brian2 takes a view's shape from
        # `start` and `stop`, also that of a new value in run_args.
        self.start, self.stop = 0, self.variables["w"].size
        self._enable_group_attributes()
        self._indices.N = self.variables["_n_weights"]

    @property
    def _delay_steps(self) -> int:
        return round(float(self._delay / self.clock.dt))

    def _add_variables(self, dtype: Any, unit: Any) -> None:
        variables = self.variables = Variables(self)
        variables.create_clock_variables(self.clock)
        used = get_identifiers(self.on_pre)
        for prefix, group, index in (
            ("pre", self.source, "_presynaptic_idx"),
            ("post", self.target, "_postsynaptic_idx"),
        ):
            variables.add_auxiliary_variable(index, dtype=np.int32)
            # One spike at a time: it reaches no target and no weight twice, but all of
            # them have the same source.
            variables[index].unique = prefix == "post"
            variables[index].read_only = True
            for name, variable in group.variables.items():
                if name.startswith("_") or name in ("t", "dt", "t_in_timesteps", "N"):
                    continue
                if group.variables.indices[name] not in ("_idx", "_sub_idx", "0"):
                    continue  # not a variable of its neurons
                where = "0" if variable.scalar else index
                names = [f"{name}_{prefix}"]
                if prefix == "post" and name not in ("i", "w"):
                    names.append(name)
                for own in names:
                    # Expressions refer to those of the layer before, and so on.
                    if not isinstance(variable, Subexpression) or own in used:
                        variables.add_reference(own, group, name, index=where)
        stored = self.connection.as_stored()
        variables.add_constant("N", value=self.connection.n_synapses)
        variables.add_constant("_n_weights", value=stored.size)
        variables.add_array(
            "w", size=stored.size, dimensions=get_dimensions(unit), dtype=dtype
        )
        variables["w"].set_value(stored.flat)
        variables.add_auxiliary_variable("_kernel_idx", dtype=np.int32)
        variables["_kernel_idx"].unique = True
        variables["_kernel_idx"].read_only = True
        for side, group in (("source", self.source), ("target", self.target)):
            start = getattr(group, "start", 0)
            variables.add_constant(f"_{side}_start", value=start)
        variables.add_constant("_source_N", value=len(self.source))
        variables.add_reference("_spikespace", self.source)
        table, cells = self._runs, self._cells
        # What a run needs is next to each other in memory.
        by_run = np.stack([table.post, table.weight, table.length], axis=1).ravel()
        self._add_table("_run_first", table.first)
        self._add_table("_runs", by_run)
        if cells is not None or self.size is not None:
            variables.add_auxiliary_variable("_value", dtype=dtype)
        if cells is not None:
            self._add_table("_cell_first", cells.first)
            self._add_table("_cell_index", cells.cell)
            self._add_table("_cell_share", cells.share, dtype)
        # The spikes of the last steps. All of a population may spike, not only the
        # subgroup that is connected.
        ring = (self._delay_steps + 1) * variables["_spikespace"].size
        variables.add_array(
            "_delayed",
            size=ring if self._delay_steps else 1,
            dtype=np.int32,
            read_only=True,
        )
        variables.add_array("_slot", size=1, scalar=True, dtype=np.int32)

    def _add_table(self, name: str, values: Any, dtype: Any = np.int32) -> None:
        self.variables.add_array(
            name,
            size=len(values),
            values=values,
            dtype=dtype,
            constant=True,
            read_only=True,
        )

    def before_run(self, run_namespace: Any) -> None:
        """
        Make the code for a run.

        Parameters
        ----------
        run_namespace : dict
            Brian2's namespace of the run.

        Raises
        ------
        InputError
            If the clock's dt was changed, so that the delay is another number of steps.
        """
        if self._delay_steps != self.template_kwds["delay_steps"]:
            raise InputError(
                f"{self.name}: dt was changed after the synapses were made with a delay"
            )
        super().before_run(run_namespace)

    def create_default_code_object(self, run_namespace: Any) -> Any:
        """Make the code object, for the target at hand and with our indices."""
        self.codeobj_class = own_code_object_class()
        self.variables.indices["w"] = "_kernel_idx"
        try:
            return super().create_default_code_object(run_namespace)
        finally:
            self.variables.indices["w"] = "_idx"

    def arrivals(self, spikes: Any) -> Iterator[tuple[int, int, float]]:
        """
        List what arrives in a step, for Brian2's NumPy target.

        Parameters
        ----------
        spikes : ndarray of int
            Neurons of the source's group that spiked.

        Yields
        ------
        spike, source : int
            The neuron, and its index in the subgroup or that of a cell of it.
        value : float
            What the spike is worth there.
        """
        start = getattr(self.source, "start", 0)
        inside = [s for s in spikes if 0 <= s - start < len(self.source)]
        cells, channels = self._cells, self.connection.input_shape[0]
        if cells is None:
            yield from ((s, s - start, 1.0) for s in inside)
            return
        for spike in inside:
            place, channel = divmod(spike - start, channels)
            for k in range(cells.first[place], cells.first[place + 1]):
                yield spike, cells.cell[k] * channels + channel, cells.share[k]

    def targets_from(self, source: int) -> tuple[Any, Any]:
        """
        List what a spike reaches.

        Parameters
        ----------
        source : int
            Index of the source neuron; with pooling, of a cell.

        Returns
        -------
        post, weight : ndarray of int, shape (n_synapses_of_neuron,)
            Target neurons, and indices into ``w``.
        """
        return self._runs.of(source).expanded()[1:]

    @property
    def delay(self) -> Quantity:
        """Delay of all synapses [s], a whole number of time steps."""
        return self._delay_steps * self.clock.dt

    @property
    def kernel(self) -> Any:
        """
        The weights in torch's order.

        Convolution: (out_channels, in_channels / groups, ky, kx). Linear: (n_out,
        n_in), inputs flattened like torch does. Pooling: (out_height, out_width).
        """
        return self.connection.from_stored(np.asarray(self.w_[:])) * self._unit

    @kernel.setter
    def kernel(self, value: Any) -> None:
        shape = self.connection.weight.shape
        if np.shape(value) != shape:
            found = f"{self.name}: a kernel of shape {np.shape(value)}"
            raise InputError(f"{found}, expected the shape {shape}")
        stored = self.connection.stored(np.asarray(value))
        self.w = Quantity(stored, dim=get_dimensions(value))

    @property
    def _unit(self) -> Any:
        dimensions = self.variables["w"].dim
        return 1 if dimensions.is_dimensionless else get_unit(dimensions)

    def to_explicit(self, name: str = "synapses*") -> Synapses:
        """
        Make the same synapses with one stored weight per connection.

        Parameters
        ----------
        name : str
            Name of the new object.

        Returns
        -------
        Synapses
            Brian2's own synapses; they do the same, to float rounding.
        """
        unit, connection = self._unit, self.connection
        weight = connection.from_stored(np.asarray(self.w_[:]))
        pre, post, values = connection.expanded(weight)
        synapses = Synapses(
            self.source,
            self.target,
            f"w : {1 if isinstance(unit, int) else repr(unit)}",
            on_pre=self.on_pre,
            delay=self.delay,
            clock=self.clock,
            name=name,
            dtype=self.variables["w"].dtype,
        )
        synapses.connect(i=pre, j=post)
        synapses.w = values * unit
        # Brian2's standalone mode asks each array for its owner.
        synapses._shared = self
        return synapses

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r} from {self.source.name!r} to "
            f"{self.target.name!r}, {self.variables['N'].get_value():,} synapses>"
        )
