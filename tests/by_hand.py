"""Networks that tests put together by hand, and connections as matrices."""

import math
from dataclasses import replace

import numpy as np

from cnn2snn_brian.projections import (
    Connection,
    Convolution,
    Dense,
    Network,
    Population,
    Projection,
    TransposedConvolution,
    Window,
    gate_window,
    span_matrix,
)


def _made(name, inputs, connection, bias=None, n_bias_parameters=0, gate=None):
    population = Population(name, connection.shape, bias, n_bias_parameters)
    return population, (Projection(name, *inputs, name, connection, gate=gate),)


def Conv2d(name, inputs, input_shape, weight, bias=None, n_bias_parameters=0, **more):
    kernel = Convolution(input_shape, weight, **more)
    return _made(
        name, inputs, Connection(input_shape, kernel=kernel), bias, n_bias_parameters
    )


def Linear(name, inputs, input_shape, weight, bias=None, n_bias_parameters=0):
    connection = Connection(input_shape, kernel=Dense(input_shape, weight))
    return _made(name, inputs, connection, bias, n_bias_parameters)


def pooling(input_shape, rows, columns, row_weights, column_weights):
    """Make the connection of an average pooling of its windows."""
    window = Window(
        span_matrix(input_shape[1], rows, row_weights),
        span_matrix(input_shape[2], columns, column_weights),
    )
    return Connection(input_shape, window)


def AvgPool2d(name, inputs, input_shape, rows, columns, row_weights, column_weights):
    connection = pooling(input_shape, rows, columns, row_weights, column_weights)
    return _made(name, inputs, connection)


def MaxPool2d(name, inputs, input_shape, rows, columns, rule="gate"):
    window = gate_window(input_shape[1:], (rows, columns))
    return _made(name, inputs, Connection(input_shape, window), gate=rule)


def joined(name, *layers):
    """Make one population that all of these layers reach."""
    projections = [replace(p, target=name) for _, own in layers for p in own]
    biases = [population.bias for population, _ in layers]
    biases = [bias for bias in biases if bias is not None]
    population = Population(name, layers[0][0].shape, sum(biases) if biases else None)
    return population, tuple(projections)


def Layers(input_shape, layers, ceilings=()):
    """Put layers together; ceilings are (name, Ceiling)."""
    ceilings = dict(ceilings)
    populations = [
        replace(population, ceiling=ceilings.get(population.name))
        for population, _ in layers
    ]
    projections = [projection for _, own in layers for projection in own]
    return Network(input_shape, tuple(populations), tuple(projections))


def layer_of(network, name):
    """Take a population, and what reaches it, out of a network."""
    return network[name], network.into(name)


def only(network, name=None):
    """Give the only projection to a population, or to the last one."""
    (projection,) = network.into(network.names[-1] if name is None else name)
    return projection


def connection_of(layer):
    """Give the only connection of a layer."""
    ((projection,),) = layer[1:]
    return projection.connection


def weight_of(network, name):
    """Give the weights of the only projection to a population."""
    return only(network, name).connection.weight


def n_parameters(network, name):
    """Count the trained values of a population and of what reaches it."""
    return network[name].n_bias_parameters + sum(
        p.connection.n_parameters for p in network.into(name)
    )


def reweighted(network, name, weight):
    """Give the only projection to a population other weights."""
    mine = only(network, name)
    other = replace(mine, connection=mine.connection.reweighted(weight))
    projections = [other if p is mine else p for p in network.projections]
    return replace(network, projections=tuple(projections))


def channels_last(array, n_axes):
    """Flatten the last `n_axes` axes, channels last."""
    if n_axes == 3:
        array = np.moveaxis(array, -3, -1)
    return array.reshape(*array.shape[: array.ndim - n_axes], -1)


def responses(function, input_shape):
    """What a function makes of a 1 at each input: (n_sources, n_targets), in order."""
    n_in = math.prod(input_shape)
    found = np.asarray(function(np.eye(n_in).reshape(n_in, *input_shape)))
    found = channels_last(found, found.ndim - 1)
    by_source = np.arange(n_in).reshape(input_shape)
    return found[channels_last(by_source, len(input_shape))]


def pattern(connection):
    """Say which sources reach which targets, by its sums: (n_sources, n_targets)."""
    window, kernel = connection.window, connection.kernel
    if window is not None:
        window = Window(*((axis != 0) * 1.0 for axis in window.axes))
    if kernel is not None:
        kernel = replace(kernel, weight=np.ones_like(kernel.weight))
    ones = replace(connection, window=window, kernel=kernel)
    return responses(ones.drive, connection.input_shape) != 0


def as_matrix(connection, **how):
    """List the synapses in a matrix, each pair once: (n_sources, n_targets)."""
    pre, post, weight = connection.expanded(**how)
    shape = math.prod(connection.input_shape), math.prod(connection.shape)
    found, n_times = np.zeros(shape), np.zeros(shape, int)
    found[pre, post] = weight
    np.add.at(n_times, (pre, post), 1)
    assert n_times.max(initial=0) <= 1
    return found


def transposed(input_shape, module):
    """Make the kernel of torch's module for transposed convolutions."""
    return TransposedConvolution(
        input_shape,
        module.weight.detach().double().numpy(),
        stride=module.stride,
        padding=tuple(
            (p, p - extra)
            for p, extra in zip(module.padding, module.output_padding, strict=True)
        ),
        dilation=module.dilation,
        groups=module.groups,
    )
