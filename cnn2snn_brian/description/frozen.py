"""Dictionaries that can't be changed, for frozen descriptions."""

from typing import Any, NoReturn, TypeVar

__all__ = ["FrozenDict"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class FrozenDict(dict[Key, Value]):
    """
    A dictionary that refuses changes.

    What was checked stays as it was checked: ``snn.thresholds["conv1"] = -1`` raises
    TypeError. It can be pickled, hashed by its items where they can, and written as
    JSON, and ``dict(...)`` makes an ordinary one of it.
    """

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        message = (
            "these values were checked and can't be changed in place; give new ones, "
            'as in snn.thresholds = {"conv1": 2.5}'
        )
        raise TypeError(message)

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))
