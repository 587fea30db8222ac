from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourier_runtimes import tables
from fourier_runtimes.tables import Precision, Table
from tests.tolerances import STORED_F16


def values(seed: int, shape: tuple[int, ...] = (3, 50)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 50), (7,), ()])
def test_float32_rows_come_back_as_they_are(shape: tuple[int, ...]) -> None:
    table = Table(shape, "float32", None)
    slots = [table.add(values(seed, shape), 1.0) for seed in range(5)]

    for seed, slot in enumerate(slots):
        assert np.array_equal(table.read(slot), values(seed, shape))


@pytest.mark.parametrize("shape", [(3, 50), (7,), ()])
def test_float16_rows_are_off_by_half_a_unit_in_the_last_place(shape: tuple[int, ...]) -> None:
    table = Table(shape, "float16", None)
    wanted = values(1, shape)

    got = table.read(table.add(wanted, 150.0))

    assert np.all(np.abs(got - wanted) <= STORED_F16 * np.abs(wanted))
    assert not np.array_equal(got, wanted)


@pytest.mark.parametrize("scale", [1e-35, 1e-6, 1.0, 1e6, 1e34])
def test_float16_rows_of_any_size_keep_their_precision(scale: float) -> None:
    table = Table((3, 50), "float16", None)
    wanted = (values(1) * np.float32(scale)).astype(np.float32)

    got = table.read(table.add(wanted, 150.0))

    large = np.abs(wanted).max(axis=1, keepdims=True)
    assert np.all(np.abs(got - wanted) <= np.maximum(STORED_F16 * np.abs(wanted), 2.0**-39 * large))


def test_each_row_of_the_last_axis_has_its_own_factor() -> None:
    table = Table((2, 50), "float16", None)
    wanted = values(1, (2, 50)) * np.array([[1e-20], [1e20]], np.float32)

    got = table.read(table.add(wanted, 1.0))

    assert np.all(np.abs(got - wanted) <= STORED_F16 * np.abs(wanted) + 2.0**-39 * 1e-18)


def test_coefficients_that_were_float16_stay_exact() -> None:
    table = Table((3, 50), "float16", None)
    stored = (values(1) / 100).astype(np.float16)
    wanted = (stored.astype(np.float64) * 150.3).astype(np.float32)

    got = table.read(table.add(wanted, 150.3))

    assert np.array_equal(got, wanted)


def test_zeros_stay_zeros() -> None:
    table = Table((2, 3), "float16", None)

    assert not table.read(table.add(np.zeros((2, 3), np.float32), 0.0)).any()


def test_freed_slots_are_used_again() -> None:
    table = Table((4,), "float32", None)
    first, _ = table.add(values(0, (4,)), 1.0), table.add(values(1, (4,)), 1.0)
    table.free(first)

    assert table.add(values(2, (4,)), 1.0) == first


def test_a_file_does_not_use_a_freed_slot_again_until_it_is_released(tmp_path: Path) -> None:
    table = Table((4,), "float32", tmp_path / "t")
    first = table.add(values(0, (4,)), 1.0)
    table.free(first)

    assert table.add(values(1, (4,)), 1.0) != first
    table.release()
    assert table.add(values(2, (4,)), 1.0) == first


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_table_grows_by_blocks(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2000)
    for path in (None, tmp_path / "t"):
        table = Table((3, 50), precision, path)
        slots = [table.add(values(seed), 1.0) for seed in range(20)]

        assert sorted(slots) == list(range(20))
        assert table.capacity - 20 < table.block_rows
        for seed, slot in enumerate(slots):
            assert np.allclose(table.read(slot), values(seed), rtol=STORED_F16)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists them")
def test_a_file_of_many_blocks_takes_few_file_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 600)
    before = len(list(Path("/proc/self/fd").iterdir()))
    table = Table((3, 50), "float32", tmp_path / "t")
    slots = [table.add(values(seed), 1.0) for seed in range(150)]
    table.sync()
    again = Table((3, 50), "float32", tmp_path / "t")

    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 6
    assert again.take(slots)
    assert again.capacity == table.capacity == 150
    for seed, slot in enumerate(slots):
        assert np.array_equal(table.read(slot), values(seed))
        assert np.array_equal(again.read(slot), values(seed))


def test_a_file_is_found_again(tmp_path: Path) -> None:
    table = Table((3, 50), "float32", tmp_path / "t")
    slot = table.add(values(3), 1.0)
    digest = table.digest(slot)
    table.sync()

    again = Table((3, 50), "float32", tmp_path / "t")

    assert again.take([slot])
    assert again.digest(slot) == digest
    assert np.array_equal(again.read(slot), values(3))


def test_slots_that_are_not_there_are_not_taken(tmp_path: Path) -> None:
    table = Table((3, 50), "float32", tmp_path / "t")
    table.add(values(3), 1.0)

    assert not table.take([table.capacity])
    assert not table.take([-1])
    assert not table.take([0, 0])
    assert table.take([2, 0])
    assert table.add(values(4), 1.0) == 1


def test_values_of_another_shape_are_never_spread_over_a_row() -> None:
    table = Table((3, 50), "float32", None)

    with pytest.raises(ValueError, match="shape"):
        table.add(values(0, (1, 50)), 1.0)
