"""How much memory is free."""

import os
from pathlib import Path

__all__ = ["free_memory"]


def free_memory() -> int | None:
    """
    Say how much memory new data can take.

    Returns
    -------
    int or None
        Bytes; what a container may still take if that is less. None if the system
        does not say.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        try:
            # Not what is free, but nothing larger will fit.
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (OSError, ValueError):
            return None
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            free = min(free, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return free
