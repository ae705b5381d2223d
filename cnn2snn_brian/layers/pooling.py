"""Average pooling without neurons: composed with the layers that read it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cnn2snn_brian.layers.avg_pool2d import AvgPool2d
from cnn2snn_brian.layers.joined import AnyLayer, Joined, Part, parts, renamed
from cnn2snn_brian.layers.max_pool2d import MaxPool2d
from cnn2snn_brian.layers.placed import Placed, on_channels
from cnn2snn_brian.layers.pooled import Pooled

__all__ = ["composed", "is_pooling"]


def is_pooling(layer: AnyLayer) -> bool:
    """
    Say whether a layer does nothing but average.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear, Pooled or Joined
        The layer.

    Returns
    -------
    bool
        Whether it is average pooling of one layer, or of several that it joins.
    """
    return layer.bias is None and all(
        isinstance(part.layer if isinstance(part, Placed) else part, AvgPool2d)
        for part in parts(layer)
    )


@dataclass(frozen=True)
class _Way:
    """A layer, the poolings behind it, and the channels that it ends in."""

    source: str
    pools: tuple[AvgPool2d, ...]
    start: int
    channels: int


def _ways(name: str, pools: Mapping[str, AnyLayer]) -> Iterator[_Way]:
    """List the ways into a pooling layer."""
    for part in parts(pools[name]):
        start = part.start if isinstance(part, Placed) else 0
        pool = part.layer if isinstance(part, Placed) else part
        assert isinstance(pool, AvgPool2d)
        (source,) = pool.inputs
        if source not in pools:
            yield _Way(source, (pool,), start, pool.shape[0])
            continue
        for way in _ways(source, pools):
            shape = (way.channels, *pool.input_shape[1:])
            last = replace(pool, input_shape=shape)
            yield _Way(way.source, (*way.pools, last), start + way.start, way.channels)


def composed(layer: AnyLayer, pools: Mapping[str, AnyLayer]) -> AnyLayer:
    """
    Let a layer read what was averaged, instead of averages.

    Parameters
    ----------
    layer : Conv2d, AvgPool2d, Linear, Placed, Pooled or Joined
        The layer.
    pools : dict of str to AvgPool2d or Joined
        The pooling layers that have no neurons, by name.

    Returns
    -------
    Conv2d, AvgPool2d, Linear, Placed, Pooled or Joined
        The same layer behind these poolings.
    """
    if not any(name in pools for name in layer.inputs):
        return layer
    found: list[Part] = []
    for part in parts(layer):
        (source,) = part.inputs
        if source not in pools:
            found.append(part)
            continue
        assert not isinstance(part, Pooled | MaxPool2d)
        for way in _ways(source, pools):
            narrow = on_channels(part, way.start, way.channels)
            found.append(Pooled(way.pools, narrow))
    if len(found) == 1 and not isinstance(layer, Joined):
        (only,) = found
        assert isinstance(only, Pooled)
        return Pooled(only.pools, layer)  # type: ignore[arg-type]
    return Joined(
        layer.name,
        tuple(named(layer.name, found)),
        layer.bias,
        getattr(layer, "n_bias_parameters", 0),
    )


def named(name: str, found: Sequence[Part]) -> Iterator[Part]:
    """
    Name the parts of a joined layer after what they connect.

    Parameters
    ----------
    name : str
        Name of the layer.
    found : sequence of Conv2d, AvgPool2d, Linear, Placed or Pooled
        Its parts.

    Yields
    ------
    Conv2d, AvgPool2d, Linear, Placed or Pooled
        The parts, named ``add1_from_conv2``; the second one of a pair of layers has a
        number behind that.
    """
    n_of_source: dict[str, int] = {}
    for part in found:
        (source,) = part.inputs
        n = n_of_source[source] = n_of_source.get(source, 0) + 1
        yield renamed(
            part, f"{name}_from_{source}" + (f"_{n}" if n > 1 else ""), source
        )
