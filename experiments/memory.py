"""The peak memory of a part of a process."""

from __future__ import annotations

from pathlib import Path


def start_peak(device: str) -> None:
    """Forget the peak so far: Linux's resident set, or torch's count on a GPU."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """Returns the peak since `start_peak`, with all that the process held before."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")
