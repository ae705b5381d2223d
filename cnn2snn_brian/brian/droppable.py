"""
Objects of a network that may be dropped before they have run.

Brian2 warns of an object that is deleted and was never simulated: its user may have
forgotten to add it to a network. Objects of a converted network are in it from the
start, and a user who looks at it and drops it has forgotten nothing.
"""

from functools import cache
from typing import Any

__all__ = ["droppable"]


class _Droppable:
    def __del__(self) -> None:
        """Say nothing, in place of Brian2's warning."""


@cache
def droppable(kind: type[Any]) -> type[Any]:
    """
    Make a kind of Brian2 object that can be dropped without a warning.

    Parameters
    ----------
    kind : type
        Such as NeuronGroup.

    Returns
    -------
    type
        The same in all else, under the same name. An object may be taken out of its
        network into one of the user's, as any other.
    """
    return type(
        kind.__name__,
        (_Droppable, kind),
        {"__doc__": kind.__doc__, "__module__": kind.__module__},
    )
