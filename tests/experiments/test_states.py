"""States of rows of different lengths lie in one file, which is computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.states import Parts, States, kept, kept_rows


def test_padded_states_of_any_order_come_back_by_row_and_are_computed_once(tmp_path: Path) -> None:
    lengths = [3, 1, 2]
    expected = [np.full((length, 4), row, np.float32) for row, length in enumerate(lengths)]
    calls = []

    def compute() -> Parts:
        calls.append(1)
        for rows in ([1], [2, 0]):
            padded = np.full((len(rows), 3, 4), -1, np.float32)
            for place, row in enumerate(rows):
                padded[place, : lengths[row]] = expected[row]
            yield rows, padded

    for _ in range(2):
        found = kept_rows(tmp_path / "some.npy", lengths, 4, compute)
        assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    assert len(calls) == 1


def test_states_of_a_computation_that_failed_are_computed_anew(tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise MemoryError

    def fill(file: States) -> None:
        file[:] = 7

    with pytest.raises(MemoryError):
        kept(tmp_path / "some.npy", (2, 3), fails)
    found = kept(tmp_path / "some.npy", (2, 3), fill)
    assert found.tolist() == [[7.0] * 3] * 2
