"""
Errors of ours that nobody catches: without Brian2's request to report them.

Brian2 sets ``sys.excepthook`` when it is imported. Above the traceback of any uncaught
error, it then says that this is unexpected and asks to report it. That holds for errors
of Brian2, but not for a `ConversionError`, which says what to do.
"""

import sys
from types import TracebackType

from brian2.utils.logger import brian_excepthook

from cnn2snn_brian.errors import ConversionError

__all__ = ["narrow_brians_hook"]


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
