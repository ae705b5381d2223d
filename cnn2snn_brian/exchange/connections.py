"""Nodes between populations: convolutions, linear layers and average pooling."""

from dataclasses import replace
from typing import Any

import numpy as np

from cnn2snn_brian.cnn.composition import is_pointwise
from cnn2snn_brian.cnn.values import Term, Value
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.exchange.nodes import pair
from cnn2snn_brian.exchange.windows import Pool, pool_layer
from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.conv2d import Conv2d
from cnn2snn_brian.layers.linear import Linear

__all__ = ["averaged", "convolved", "multiplied", "pool_in"]


def _finite(name: str, what: str, value: Any) -> Any:
    array = np.asarray(value, np.float64)
    if not np.isfinite(array).all():
        message = f"{name}: {what} has values that are not finite"
        raise InputError(message)
    return array


def _conv2d(name: str, node: Any, value: Value) -> Conv2d:
    """Read a node as a layer that reads the whole value."""
    weight = _finite(name, "weight", node.weight)
    groups = int(node.groups)
    shape = value.shape
    is_map = len(shape) == 3 and not value.is_flat
    if not is_map or weight.ndim != 4 or weight.shape[1] * groups != shape[0]:
        message = (
            f"{name}: a kernel of shape {weight.shape} in {groups} groups on values of "
            f"shape {shape}"
        )
        raise InputError(message)
    dilation = pair(node.dilation)
    padding: Any = node.padding
    if isinstance(padding, bytes):
        padding = padding.decode()
    if isinstance(padding, str) and padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        sides = tuple((n // 2, n - n // 2) for n in total)
    elif isinstance(padding, str):
        sides = ((0, 0), (0, 0))
    else:
        sides = tuple((n, n) for n in pair(padding))
    layer = Conv2d(
        name,
        ("",),
        shape,  # type: ignore[arg-type]
        weight,
        stride=pair(node.stride),
        padding=sides,  # type: ignore[arg-type]
        dilation=dilation,
        groups=groups,
    )
    bias = _finite(name, "bias", node.bias)
    if not bias.any():
        return layer
    full = np.broadcast_to(bias.reshape(-1, 1, 1), layer.shape)
    return replace(layer, bias=full, n_bias_parameters=bias.size)


def _own_channels(layer: Conv2d) -> Conv2d:
    """Write a convolution of each channel with itself as one in groups."""
    weight = layer.weight
    n_out, n_in = weight.shape[:2]
    if layer.groups > 1 or n_out != n_in or n_in == 1:
        return layer
    others = np.abs(weight).max(axis=(2, 3))
    np.fill_diagonal(others, 0)
    if others.any():
        return layer
    diagonal = weight[np.arange(n_in), np.arange(n_in)]
    return replace(layer, weight=diagonal[:, None], groups=n_in)


def _cropped(layer: Conv2d) -> Conv2d:
    """Leave out rows and columns of zeros around a kernel."""
    used: Any = layer.weight.any(axis=(0, 1))
    if not used.any():
        return layer
    spans, padding = [], []
    for axis in (0, 1):
        taps = np.flatnonzero(used.any(axis=1 - axis))
        first, end = int(taps[0]), int(taps[-1]) + 1
        stride, dilation = layer.stride[axis], layer.dilation[axis]
        n_in, n_out = layer.input_shape[1 + axis], layer.shape[1 + axis]
        before = layer.padding[axis][0] - dilation * first
        reach = (n_out - 1) * stride + dilation * (end - first - 1) + 1
        after = max(0, reach - n_in - before)
        if before < 0 or (n_in + before + after - reach) // stride:
            return layer
        spans.append(slice(first, end))
        padding.append((before, after))
    return replace(
        layer,
        weight=layer.weight[:, :, spans[0], spans[1]],
        padding=(padding[0], padding[1]),
    )


def convolved(name: str, node: Any, value: Value) -> Value:
    """
    Let a Conv2d node read a value.

    Parameters
    ----------
    name : str
        Name of the node.
    node : nir.Conv2d
        The node.
    value : Value
        What it reads.

    Returns
    -------
    Value
        The result.

    Raises
    ------
    InputError
        If shapes don't fit, or the node can't be composed with what is before it.
    """
    layer = _conv2d(name, node, value)
    if not layer.weight.any():
        # No more than a constant.
        constant: Any = np.zeros(layer.shape) if layer.bias is None else layer.bias
        return Value(layer.shape, (), constant, layer.n_bias_parameters)
    layer = _cropped(_own_channels(layer))
    plain = replace(layer, bias=None, n_bias_parameters=0)
    reached = np.flatnonzero(layer.weight.any(axis=(1, 2, 3)))
    start, end = int(reached[0]), int(reached[-1]) + 1
    if layer.groups > 1 or end - start == len(layer.weight):
        return _through(layer, name, value)
    # Channels that nothing reaches get no synapses.
    narrow = replace(plain, weight=layer.weight[start:end])
    found = _through(narrow, name, replace(value, bias=None))
    terms = tuple(replace(term, start=term.start + start) for term in found.terms)
    bias: Any = layer.bias
    if value.bias is not None:
        before = plain.drive(value.bias[None])[0]
        bias = before if bias is None else before + bias
    n_biases = value.n_biases + layer.n_bias_parameters
    return Value(layer.shape, terms, bias, n_biases)


def multiplied(name: str, node: Any, value: Value) -> Value:
    """
    Let a Linear or Affine node read a value.

    Parameters
    ----------
    name : str
        Name of the node.
    node : nir.Linear or nir.Affine
        The node.
    value : Value
        What it reads, flat or flattened.

    Returns
    -------
    Value
        The result.

    Raises
    ------
    InputError
        If shapes don't fit, or the node can't be composed with what is before it.
    """
    weight = _finite(name, "weight", node.weight)
    n_in = int(np.prod(value.shape))
    is_flat = value.is_flat or len(value.shape) == 1
    if weight.ndim != 2 or weight.shape[1] != n_in or not is_flat:
        message = (
            f"{name}: weights of shape {weight.shape} on values of shape {value.shape}"
            + ("" if is_flat else "; a Flatten node has to come before it")
        )
        raise InputError(message)
    bias = getattr(node, "bias", None)
    bias = None if bias is None else _finite(name, "bias", bias)
    bias = bias if bias is not None and bias.any() else None
    n_bias = 0 if bias is None else bias.size
    layer = Linear(name, ("",), value.shape, weight, bias, n_bias)
    return _through(layer, name, value)


def _through(layer: Conv2d | Linear, name: str, value: Value) -> Value:
    found = value.through(layer, name, name)
    if isinstance(found, Term):
        message = (
            f"{found.where}: no neurons between it and {name}, and one map in place of "
            "the two would have many more weights"
        )
        raise InputError(message)
    return found


def pool_in(name: str, node: Any, value: Value) -> Pool | None:
    """
    Read a Conv2d node as average pooling, if it does nothing else.

    Parameters
    ----------
    name : str
        Name of the node.
    node : nir.Conv2d
        The node.
    value : Value
        What it reads.

    Returns
    -------
    Pool or None
        Windows, if every channel is convolved with the same constant kernel and no
        other channel.
    """
    layer = _cropped(_own_channels(_conv2d(name, node, value)))
    weight = layer.weight
    is_pool = (
        layer.bias is None
        and layer.groups == len(weight) == layer.input_shape[0]
        and weight.shape[2:] != (1, 1)
        and layer.dilation == (1, 1)
        and bool((weight == weight.flat[0]).all())
        and weight.flat[0] > 0
    )
    if not is_pool:
        return None
    for before, after in layer.padding:
        if after > before:
            return None
    pool = Pool(
        weight.shape[2:],
        layer.stride,
        (layer.padding[0][0], layer.padding[1][0]),
        float(weight.flat[0]),
    )
    shape = pool_layer(name, "", layer.input_shape, pool).shape
    return pool if shape == layer.shape else None


def averaged(
    name: str, pool: Pool, value: Value, taken: Any
) -> tuple[Value, list[AvgPool2d]]:
    """
    Average a value, without neurons for that.

    Parameters
    ----------
    name : str
        Name of the node.
    pool : Pool
        The windows.
    value : Value
        What is averaged.
    taken : collection of str
        Names that are in use.

    Returns
    -------
    value : Value
        The averages.
    pools : list of AvgPool2d
        Poolings of the populations that it comes from.

    Raises
    ------
    InputError
        If it is no map, or can't change places with what is before it.
    """
    if len(value.shape) != 3 or value.is_flat:
        message = f"{name}: average pooling of values of shape {value.shape}"
        raise InputError(message)
    terms: list[Term] = []
    pools: list[AvgPool2d] = []
    for term in value.terms:
        changed = term.map
        if changed is not None and not is_pointwise(changed):
            message = f"{term.where}: no neurons between it and the pooling {name}"
            raise InputError(message)
        unused = name
        while unused in {*taken, *(made.name for made in pools)}:
            unused += "_"
        shape: Any = term.source_shape
        made = pool_layer(unused, term.source, shape, pool)
        pools.append(made)
        if isinstance(changed, Conv2d):
            changed = replace(changed, input_shape=made.shape)
        terms.append(
            replace(term, source=made.name, source_shape=made.shape, map=changed)
        )
    whole = pool_layer(name, "", value.shape, pool)  # type: ignore[arg-type]
    bias = None if value.bias is None else whole.drive(value.bias[None])[0]
    return replace(value, shape=whole.shape, terms=tuple(terms), bias=bias), pools
