"""The peak memory of a part of a process."""

from __future__ import annotations

import ctypes
from pathlib import Path


def start_peak(device: str) -> None:
    """Forget the peak so far: Linux's resident set, or torch's count on a GPU.

    What the process has freed is given back before, as far as glibc can: batches of many lengths
    leave a heap that grows from epoch to epoch.
    """
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """Returns the peak since `start_peak`, with all that the process held before.

    On a CPU without the pages of files, such as kept states, that are mapped now.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return (int(sizes["VmHWM"]) - int(sizes["RssFile"])) * 1024
