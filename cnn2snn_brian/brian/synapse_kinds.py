"""Weight-shared synapses by kind, for anybody's Brian2 script."""

from typing import Any

import numpy as np
import numpy.typing as npt
from brian2 import Network, Quantity, Synapses, get_dimensions, ms, second

from cnn2snn_brian.brian.shared_synapses import SharedSynapses
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import (
    Connection,
    Convolution,
    Dense,
    GateRule,
    Span,
    Window,
    check_rule,
    gate_window,
    kernel_between,
    pool_spans,
    span_matrix,
    unused,
)
from cnn2snn_brian.settings import check_units


class GateSynapses(SharedSynapses):
    """
    Synapses of a maximum pooling: each passes spikes while its source leads.

    Parameters
    ----------
    source, target : Group
        The populations, or subgroups of them, channels last.
    connection : Connection
        A window, without a kernel.
    rule : {"gate", "largest-count"}
        Which spikes pass.
    size : str, optional
        Variable of the source with the number of spikes that an event is, for neurons
        that send several at once. All spikes of a leader pass, or so many as the
        largest count is ahead of what has passed.
    **options
        ``on_pre``, ``delay``, ``when``, ``order``, ``clock``, ``name``, ``dtype`` and
        ``unit`` of `SharedSynapses`. With a delay, spikes count when they arrive.

    Attributes
    ----------
    spikes_so_far, spikes_passed : VariableView
        Spikes of each input that have arrived, and of each window that have passed. Set
        both to 0 for a new image.

    Raises
    ------
    InputError
        If the populations have other sizes than the layer, or an option can't be used.
    """

    _template = "max_pool_gate"

    def __init__(
        self,
        source: Any,
        target: Any,
        connection: Connection,
        rule: GateRule = "gate",
        size: str | None = None,
        **options: Any,
    ) -> None:
        check_rule("rule", rule)
        self.rule, self.size = rule, size
        super().__init__(source, target, connection, **options)
        channels, _, width = connection.input_shape
        given = self.template_kwds
        self.template_kwds = given | {
            "channels": channels,
            "width": width,
            "by_count": rule == "largest-count",
            "spread": None,
            "target": None if given["size"] else given["target"],
            "size": None if size is None else f"{size}_pre",
        }

    def _add_variables(self, dtype: Any, unit: Any) -> None:
        super()._add_variables(dtype, unit)
        for name, group in (
            ("spikes_so_far", self.source),
            ("spikes_passed", self.target),
        ):
            self.variables.add_array(name, size=len(group), dtype=np.int32)
        # First and last row and column of each window, next to each other in memory.
        rows, columns = self._spans
        windows = [(*row, *column) for row in rows for column in columns]
        self._add_table("_windows", np.ravel(windows))

    @property
    def _spans(self) -> list[Any]:
        window = self.connection.window
        assert window is not None
        return [window.spans(axis) for axis in (0, 1)]

    def leaders(
        self,
        inputs: npt.NDArray[Any],
        sizes: npt.NDArray[Any],
        counts: npt.NDArray[Any],
        passed: npt.NDArray[Any],
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """
        Find the spikes that pass, for Brian2's NumPy target.

        Parameters
        ----------
        inputs : ndarray of int
            Inputs that spike in this step.
        sizes : ndarray of int
            How many spikes each of them sends.
        counts : ndarray of int, shape (n_inputs,)
            Spikes of each input so far, these included.
        passed : ndarray of int, shape (n_targets,)
            Spikes of each window that have passed.

        Returns
        -------
        post, pre, n : ndarray of int
            Targets that a spike passes to, inputs that it is of, and how many pass.
        """
        channels, *area = self.connection.input_shape
        width = self.connection.shape[2]
        rows, columns = self._spans
        spiking = np.zeros(len(counts), np.int32)
        spiking[inputs] = sizes
        # One place for each input, as in torch but channels last.
        index = np.arange(len(counts)).reshape(*area, channels)
        post, pre, n = [], [], []
        for y, (top, bottom) in enumerate(rows):
            for x, (left, right) in enumerate(columns):
                window = index[top:bottom, left:right].reshape(-1, channels)
                # `argmax` takes the first of equal ones.
                first = counts[window].argmax(0)
                leader = window[first, np.arange(channels)]
                targets = (y * width + x) * channels + np.arange(channels)
                passing = spiking[leader]
                if self.rule == "largest-count":
                    passing = counts[leader] - passed[targets]
                passes = passing > 0
                post.append(targets[passes])
                pre.append(leader[passes])
                n.append(passing[passes])
        return np.concatenate(post), np.concatenate(pre), np.concatenate(n)

    def to_explicit(self, name: str = "synapses*") -> Synapses:
        """
        Refuse to make synapses of Brian2's own.

        Parameters
        ----------
        name : str
            Name of the new object.

        Raises
        ------
        InputError
            Always: a gate compares its inputs, which `Synapses` can't.
        """
        raise InputError(
            f"{self.name}: a gate compares inputs; it has no explicit form"
        )


Pair = tuple[int, int]


def _pair(what: str, value: Any, least: int) -> Pair:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or any(
        isinstance(n, bool) or int(n) != n or n < least for n in pair
    ):
        raise InputError(
            f"{what}={value!r}: expected a whole number of at least {least}, or 2"
        )
    return int(pair[0]), int(pair[1])


class Conv2dSynapses(SharedSynapses):
    """
    Synapses of a convolution, of which only the kernel is stored.

    Parameters
    ----------
    source, target : Group
        The populations, channels last: (y, x, channel).
    kernel : ndarray or Quantity, shape (out_channels, in_channels / groups, ky, kx)
        The weights, in torch's order.
    source_shape : tuple of int
        (channels, height, width) of the source.
    stride, dilation : int or tuple of int
        In y and x.
    padding : int or tuple of int
        Zeros around the source, in y and x.
    groups : int
        Number of groups of channels.
    **options
        ``on_pre``, ``delay``, ``when``, ``order``, ``clock``, ``name`` and ``dtype`` of
        `SharedSynapses`.

    Raises
    ------
    InputError
        If shapes don't fit one another.

    Examples
    --------
    >>> from brian2 import NeuronGroup, PoissonGroup, Hz
    >>> pixels = PoissonGroup(2 * 6 * 5, 100 * Hz)
    >>> neurons = NeuronGroup(3 * 4 * 3, "v : 1", threshold="v > 1", reset="v = 0")
    >>> kernel = np.ones((3, 2, 3, 3)) / 18
    >>> Conv2dSynapses(pixels, neurons, kernel, (2, 6, 5)).N
    648
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        kernel: Any,
        source_shape: tuple[int, int, int],
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        **options: Any,
    ) -> None:
        pad_y, pad_x = _pair("padding", padding, 0)
        shape = _shape(source_shape)
        weights = Convolution(
            shape,
            np.asarray(kernel),
            stride=_pair("stride", stride, 1),
            padding=((pad_y, pad_y), (pad_x, pad_x)),
            dilation=_pair("dilation", dilation, 1),
            groups=groups,
        )
        connection = Connection(shape, kernel=weights)
        super().__init__(
            source, target, connection, **_named(options, kernel, "conv2d")
        )


class PoolSynapses(SharedSynapses):
    """
    Synapses of average pooling, channel by channel.

    Parameters
    ----------
    source, target : Group
        The populations, channels last: (y, x, channel).
    size : int or tuple of int
        Window in y and x.
    source_shape : tuple of int
        (channels, height, width) of the source.
    stride : int or tuple of int, optional
        In y and x; the window's size by default.
    weight : float or Quantity
        What all spikes of a window together add; each adds this over the window's area.
    **options
        ``on_pre``, ``delay``, ``when``, ``order``, ``clock``, ``name`` and ``dtype`` of
        `SharedSynapses`.

    Raises
    ------
    InputError
        If shapes don't fit one another.
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        size: int | Pair,
        source_shape: tuple[int, int, int],
        stride: int | Pair | None = None,
        weight: Any = 1.0,
        **options: Any,
    ) -> None:
        (rows, columns), shape = _pair("size", size, 1), _shape(source_shape)
        shares = float(np.asarray(weight)) / rows, 1 / columns
        spans = _windows(shape, size, stride)
        axes = (
            span_matrix(n, axis, [share] * len(axis))
            for n, axis, share in zip(shape[1:], spans, shares, strict=True)
        )
        connection = Connection(shape, Window(*axes))
        super().__init__(source, target, connection, **_named(options, weight, "pool"))


class MaxPoolGate(GateSynapses):
    """
    Maximum pooling of spikes, channel by channel.

    By the rule "gate" [1]_, a spike passes if its neuron is the one with the most
    spikes of its window so far, this spike included; of equal ones, the one with the
    lowest index in (y, x) counts. By "largest-count", a spike passes if its neuron then
    has more spikes than any neuron of the window had before: so as many pass as the
    busiest input has. By both, at most one spike of a window passes in a step.

    Parameters
    ----------
    source, target : Group
        The populations, channels last: (y, x, channel).
    size : int or tuple of int
        Window in y and x.
    source_shape : tuple of int
        (channels, height, width) of the source.
    stride : int or tuple of int, optional
        In y and x; the window's size by default.
    padding : int or tuple of int
        Places around the source that never spike, in y and x; at most half the window.
    ceil_mode : bool
        Whether a window may reach over the end, as in torch.
    weight : float or Quantity
        What a spike that passes adds.
    rule : {"gate", "largest-count"}
        Which spikes pass.
    size : str, optional
        Variable of the source with the number of spikes that an event is, for neurons
        that send several at once. All spikes of a leader pass, or so many as the
        largest count is ahead of what has passed.
    **options
        ``on_pre``, ``delay``, ``when``, ``order``, ``clock``, ``name`` and ``dtype`` of
        `SharedSynapses`. With a delay, spikes count when they arrive.

    Attributes
    ----------
    spikes_so_far, spikes_passed : VariableView
        Spikes of each input that have arrived, and of each window that have passed. Set
        both to 0 for a new image.

    Raises
    ------
    InputError
        If shapes don't fit one another.

    References
    ----------
    .. [1] Rueckauer et al. (2017), Conversion of Continuous-Valued Deep Networks to
       Efficient Event-Driven Networks, doi:10.3389/fnins.2017.00682

    Examples
    --------
    >>> from brian2 import NeuronGroup, PoissonGroup, Hz
    >>> pixels = PoissonGroup(2 * 6 * 5, 100 * Hz)
    >>> neurons = NeuronGroup(2 * 3 * 2, "v : 1", threshold="v >= 1", reset="v = 0")
    >>> MaxPoolGate(pixels, neurons, 2, (2, 6, 5)).N
    48
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        size: int | Pair,
        source_shape: tuple[int, int, int],
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        weight: Any = 1.0,
        rule: GateRule = "gate",
        **options: Any,
    ) -> None:
        shape = _shape(source_shape)
        axes = _windows(shape, size, stride, padding, ceil_mode=ceil_mode)
        connection = Connection(shape, gate_window(shape[1:], axes))
        named = _named(options, weight, "maxpool")
        super().__init__(source, target, connection, rule, **named)
        self.w = weight


class DenseSynapses(SharedSynapses):
    """
    Synapses from every neuron to every other, without stored indices.

    Parameters
    ----------
    source, target : Group
        The populations.
    weights : ndarray or Quantity, shape (n_target, n_source)
        The weights, as in ``torch.nn.Linear``.
    source_shape : tuple of int, optional
        (channels, height, width) of the source, if the columns of `weights` are in
        torch's order of those; the order of the neurons by default.
    **options
        ``on_pre``, ``delay``, ``when``, ``order``, ``clock``, ``name`` and ``dtype`` of
        `SharedSynapses`.

    Raises
    ------
    InputError
        If shapes don't fit one another.
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        weights: Any,
        source_shape: tuple[int, int, int] | None = None,
        **options: Any,
    ) -> None:
        shape = (len(source),) if source_shape is None else _shape(source_shape)
        connection = Connection(shape, kernel=Dense(shape, np.asarray(weights)))
        super().__init__(
            source, target, connection, **_named(options, weights, "dense")
        )


@check_units(delay=second)
def connect_convolution(
    network: Network,
    source: Any,
    target: Any,
    kernel: npt.NDArray[Any],
    *,
    delay: Quantity = 0 * ms,
    stride: int | None = None,
    source_shape: tuple[int, int, int] | None = None,
    target_shape: tuple[int, int, int] | None = None,
    **options: Any,
) -> SharedSynapses:
    """
    Connect two populations of a Brian2 network by a kernel: laterally, or back.

    The kernel is centred. A target of the same size or smaller reads it as in a
    convolution, with zeros around the source: the kernel is what a target neuron sees.
    A larger target, as of feedback to an earlier layer, is reached as in a transposed
    convolution: the kernel is what a source neuron sends around its place.

    Parameters
    ----------
    network : brian2.Network
        A network that `SpikingNetwork.network` made, or any with these populations.
    source, target : str or Group
        The populations, or their names in the network; may be the same.
    kernel : ndarray or Quantity, shape (out_channels, in_channels, ky, kx)
        The weights, target first: what a spike adds to the target's potential.
    delay : Quantity [s]
        Delay of all synapses, a multiple of dt. As always in Brian2, synapses come
        after the thresholds in a step, so with a delay of 0 a spike counts in the
        next step.
    stride : int, optional
        Positions of the larger map for each one of the smaller; by default the ratio
        of their sizes, rounded, for each axis.
    source_shape, target_shape : tuple of int, optional
        (channels, height, width). Groups of a converted network know their ``shape``;
        others, and subgroups, need it here.
    **options
        ``on_pre``, ``when``, ``order``, ``clock``, ``name`` and ``dtype`` of
        `SharedSynapses`. By default a spike does what the target's neuron model says,
        weights have the type of its ``v``, and the name is
        ``conv1_from_conv2_synapses``, with a number if the network has that.

    Returns
    -------
    SharedSynapses
        The synapses, which are in the network now.

    Raises
    ------
    InputError
        If the network has no such population, a shape is not known, the kernel does
        not fit, or the delay is no multiple of dt.

    See Also
    --------
    difference_of_gaussians : Kernels of centre and surround.

    Examples
    --------
    >>> from brian2 import Network, NeuronGroup, ms
    >>> neurons = NeuronGroup(2 * 4 * 5, "v : 1", threshold="v > 1", reset="v = 0")
    >>> network, shape = Network(neurons), (2, 4, 5)
    >>> kernel = -0.1 * np.ones((2, 2, 3, 3))
    >>> connect_convolution(network, neurons, neurons, kernel, delay=1 * ms,
    ...                     source_shape=shape, target_shape=shape).N
    520
    """
    if not isinstance(network, Network):
        raise InputError(
            f"the network is a {type(network).__name__}, expected a brian2.Network"
        )
    ends, shapes = [], []
    for what, end, shape in (
        ("source", source, source_shape),
        ("target", target, target_shape),
    ):
        if isinstance(end, str) and end not in network:
            raise InputError(
                f"the network has no {end!r}; it has "
                f"{', '.join(sorted(one.name for one in network.objects))}"
            )
        group = network[end] if isinstance(end, str) else end
        known = getattr(group, "shape", None) if shape is None else shape
        if not isinstance(known, tuple | list):
            raise InputError(
                f"{group.name}: its shape is not known; give {what}_shape=(channels, "
                "height, width)"
            )
        ends.append(group)
        shapes.append(tuple(int(n) for n in known))
    origin, reached = ends
    name = f"{reached.name}_from_{origin.name}_synapses"
    step = 0 if stride is None else _pair("stride", stride, 1)[0]
    made = kernel_between(shapes[0], shapes[1], np.asarray(kernel), step)
    given: dict[str, Any] = {
        "on_pre": getattr(reached, "on_pre", "v_post += w"),
        "clock": reached.clock,
        "name": unused(name, (one.name for one in network.objects)),
        "unit": Quantity(1, dim=get_dimensions(kernel)),
        **options,
    }
    if "v" in reached.variables:
        given.setdefault("dtype", reached.variables["v"].dtype)
    steps = float(delay / given["clock"].dt)
    if not 0 <= steps < np.inf or abs(steps - round(steps)) > 1e-6:
        raise InputError(
            f"{given['name']}: the delay is {delay}, expected a multiple of dt "
            f"{given['clock'].dt}"
        )
    connection = Connection(shapes[0], kernel=made)
    synapses = SharedSynapses(origin, reached, connection, delay=delay, **given)
    network.add(synapses)
    return synapses


def _shape(source_shape: Any) -> tuple[int, int, int]:
    shape = tuple(int(n) for n in source_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"source_shape {source_shape}: expected (channels, height, width)"
        )
    return shape[0], shape[1], shape[2]


def _windows(
    shape: tuple[int, int, int],
    size: Any,
    stride: Any,
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
) -> list[list[Span]]:
    """List the windows of a pooling along both axes."""
    window, pad = _pair("size", size, 1), _pair("padding", padding, 0)
    step = window if stride is None else _pair("stride", stride, 1)
    if any(2 * p > n for p, n in zip(pad, window, strict=True)):
        raise InputError(
            f"padding={padding!r}: at most half the window {window} is possible"
        )
    axes = []
    for n, length, by, p in zip(shape[1:], window, step, pad, strict=True):
        beyond = n + 2 * p - length
        n_out = (-(-beyond // by) if ceil_mode else beyond // by) + 1
        # As in torch: no window starts after the source.
        n_out -= (n_out - 1) * by >= n + p
        axes.append(pool_spans(n, max(n_out, 0), length, by, p))
    return axes


def _named(options: dict[str, Any], weights: Any, kind: str) -> dict[str, Any]:
    """Complete the options of a kind of synapses: a name, and the weights' unit."""
    unit = Quantity(1, dim=get_dimensions(weights))
    return {"name": f"{kind}synapses*", "unit": unit, **options}
