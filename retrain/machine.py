"""What this machine has: cores, memory, a processor; and how much of its memory may be held at once."""

import glob
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MemoryBudget", "cores", "has_gpu_device", "limit_cores", "memory", "processor_flags", "processor_name"]

_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers


_most_cores: int | None = None  # what limit_cores() said


def cores() -> int:
    """The number of cores that this process may use."""
    count = len(os.sched_getaffinity(0))
    return count if _most_cores is None else min(count, _most_cores)


def limit_cores(count: int) -> None:
    """Use so many cores in this process from now on: the others are for other processes that share the machine."""
    global _most_cores
    _most_cores = max(1, count)


def memory() -> int:
    """Bytes of memory that there are, or that a container may use."""
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _MEMORY_LIMITS:
        try:
            size = min(size, int(Path(path).read_text()))
        except (OSError, ValueError):  # another version of control groups, or "max"
            continue
    return size


def has_gpu_device() -> bool:
    """Whether the kernel has a GPU that TensorFlow may use, of NVIDIA's or AMD's."""
    return bool(glob.glob("/dev/nvidia[0-9]*")) or os.path.exists("/dev/kfd")


def processor_name() -> str:
    """The processor's name, as the kernel has it; the architecture if it has none."""
    return next(iter(_cpuinfo("model name")), os.uname().machine)


def processor_flags() -> frozenset[str]:
    """What the kernel says that the processor can do; empty if it says nothing."""
    return frozenset(flag for flags in _cpuinfo("flags", "Features") for flag in flags.split())


def _cpuinfo(*names: str) -> list[str]:
    """The values of all lines of /proc/cpuinfo with one of these names; none if it can't be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() in names]


class MemoryBudget:
    """A number of bytes that all threads share; a thread waits until there is room for what it wants.

    What is larger than the whole budget is held alone. A thread that holds some must not ask for more.
    """

    def __init__(self, size: int) -> None:
        self.size = size  # bytes
        self._held = 0
        self._change = threading.Condition()

    @contextmanager
    def hold(self, wanted: int) -> Iterator[None]:
        """Hold some bytes for as long as the block takes."""
        wanted = min(wanted, self.size)
        with self._change:
            self._change.wait_for(lambda: self._held + wanted <= self.size)
            self._held += wanted
        try:
            yield
        finally:
            with self._change:
                self._held -= wanted
                self._change.notify_all()
