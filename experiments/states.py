"""What frozen layers give, computed once for all trials and kept in files that processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.locking import once, whole

States = npt.NDArray[np.float32]
Parts = Iterable[tuple[Sequence[int] | npt.NDArray[np.int64], States]]
"""Rows, and the states of each of them: (rows, tokens, width)."""


def kept(path: Path, shape: tuple[int, ...], fill: Callable[[States], None]) -> States:
    """Returns the array of `path`, mapped, which `fill` writes where it is not there yet."""
    with once(path) as missing:
        if missing:
            with whole(path) as partial:
                file = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
                fill(file)
                file.flush()
    found: States = np.load(path, mmap_mode="r")
    return found


def kept_rows(
    path: Path, lengths: Sequence[int], width: int, compute: Callable[[], Parts]
) -> list[States]:
    """Returns (tokens, width) of each row, views of one file.

    Args:
        path: Of the file.
        lengths: Tokens of each row.
        width: Of a state.
        compute: Called where the file is not there yet; states may be padded on the right.
    """
    ends = np.cumsum(lengths)

    def fill(together: States) -> None:  # (tokens of all rows, width)
        for rows, states in compute():
            for row, found in zip(rows, states, strict=True):
                together[ends[row] - lengths[row] : ends[row]] = found[: lengths[row]]

    together = kept(path, (int(ends[-1]), width), fill)
    return list(np.split(together, ends[:-1]))
