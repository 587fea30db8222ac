from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fourier_format.errors import (
    BaseMismatchError,
    FileAccessError,
    InvalidAdapterError,
    UnknownAdapterError,
    UnsupportedError,
)
from fourier_format.live import Interface, fit
from fourier_runtimes.rows import parsed
from fourier_runtimes.store import Store
from tests.fourier_runtimes.handmade import (
    DIFFERENCE,
    Handmade,
    adapter_for,
    bank_input,
    entries_of,
    handmade,
)

BASE = handmade(0, 1)
FIRST, SECOND = (bank_input(entries) for entries in BASE.banks)


OPENED: list[Store] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Closes what a test opened."""
    yield
    while OPENED:
        OPENED.pop().close()


def opened(interface: Interface, folder: Path | None) -> Store:
    OPENED.append(Store(interface, "float32", folder))
    return OPENED[-1]


def store_of(folder: Path | None = None, base: Handmade = BASE, fill: bool = True) -> Store:
    store = opened(base.interface, folder)
    if fill:
        put(store, "a", 1)
        put(store, "b", 2, bank=1)
        put(store, "c", 3, head=True)
    return store


def put(store: Store, name: str, seed: int, bank: int = 0, head: bool = False) -> None:
    adapter = adapter_for(BASE, seed, bank, head=head)
    store.put(name, fit(adapter, store.interface, name), adapter.alpha, f"{name}.fft")


def fed(seed: int, bank: int = 0) -> np.ndarray:
    adapter = adapter_for(BASE, seed, bank)
    (entry_set,) = adapter.entry_sets
    return (entry_set.coefficients.astype(np.float64) * adapter.alpha).astype(np.float32)


def test_nothing_is_gathered_for_the_base() -> None:
    store = store_of()

    assert store.gather(parsed(None)) == {}
    assert store.gather(parsed([None, None])) == {}


def test_one_row_is_gathered_where_all_ask_for_the_same() -> None:
    gathered = store_of().gather(parsed(["a", "a", "a"]))

    assert gathered.keys() == {FIRST}
    assert np.array_equal(gathered[FIRST], fed(1)[None])


def test_each_row_gets_its_own_and_zeros_where_it_has_none() -> None:
    gathered = store_of().gather(parsed(["b", None, "a", "b"]))

    zeros = np.zeros_like(fed(1))
    assert np.array_equal(gathered[FIRST], [zeros, zeros, fed(1), zeros])
    assert np.array_equal(gathered[SECOND], [fed(2, 1), zeros, zeros, fed(2, 1)])
    assert DIFFERENCE not in gathered


def test_a_blend_is_summed_in_float64_and_rounded_once() -> None:
    gathered = store_of().gather(parsed({"a": 0.7, "c": -1e-3}))

    wide = 0.7 * fed(1).astype(np.float64) - 1e-3 * fed(3).astype(np.float64)
    assert np.array_equal(gathered[FIRST][0], wide.astype(np.float32))


def test_heads_are_gathered_as_differences() -> None:
    gathered = store_of().gather(parsed(["c", "a"]))

    head = adapter_for(BASE, 3, head=True).replacements["head.weight"].astype(np.float64)
    wanted = (head - BASE.weights["head"]).astype(np.float32)
    assert np.array_equal(gathered[DIFFERENCE], [wanted, np.zeros_like(wanted)])


def test_what_was_gathered_is_no_view_of_the_store() -> None:
    store = store_of()
    gathered = store.gather(parsed("a"))
    store.remove("a")
    put(store, "d", 9)

    assert np.array_equal(gathered[FIRST][0], fed(1))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UnknownAdapterError):
        store_of().gather(parsed("nobody"))
    with pytest.raises(UnknownAdapterError):
        store_of().remove("nobody")


def test_a_name_stands_for_what_was_put_last() -> None:
    store = store_of()
    put(store, "a", 7)
    put(store, "d", 8)

    assert np.array_equal(store.gather(parsed("a"))[FIRST][0], fed(7))
    assert np.array_equal(store.gather(parsed("d"))[FIRST][0], fed(8))
    assert store.names == ["b", "c", "a", "d"]


def test_a_sum_beyond_float32_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        store_of().gather(parsed({"a": 1e38}))

    assert caught.value.code == "E-NUMBER-NONFINITE"


def test_a_folder_has_its_adapters_again(tmp_path: Path) -> None:
    store_of(tmp_path).close()

    again = store_of(tmp_path, fill=False)

    assert again.names == ["a", "b", "c"]
    assert again.known("b")[1] == "b.fft"
    assert np.array_equal(again.gather(parsed("b"))[SECOND][0], fed(2, 1))


def test_what_is_loaded_after_a_folder_was_opened_overwrites_nothing(tmp_path: Path) -> None:
    store_of(tmp_path).close()
    again = store_of(tmp_path, fill=False)
    again.remove("a")
    put(again, "d", 9)

    assert np.array_equal(again.gather(parsed("c"))[FIRST][0], fed(3))
    assert np.array_equal(again.gather(parsed("d"))[FIRST][0], fed(9))


def test_a_process_that_dies_leaves_a_sound_folder(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.flush()
    for seed in range(20, 40):  # nothing of this is in the index
        store.remove("a")
        put(store, "a", seed)
    OPENED.remove(store)
    store._let_go()  # as if killed

    again = store_of(tmp_path, fill=False)

    assert np.array_equal(again.gather(parsed("a"))[FIRST][0], fed(1))
    assert np.array_equal(again.gather(parsed("c"))[FIRST][0], fed(3))


def test_numbers_that_changed_on_disk_are_not_served(tmp_path: Path) -> None:
    store_of(tmp_path).close()
    for path in tmp_path.glob("*.f32"):
        data = bytearray(path.read_bytes())
        data[5] ^= 1  # of the first slot
        path.write_bytes(data)
    again = store_of(tmp_path, fill=False)

    with pytest.raises(InvalidAdapterError) as caught:
        again.gather(parsed("a"))

    assert caught.value.code == "E-DIGEST"
    assert again.names == ["b", "c"]


def test_a_folder_of_another_base_is_refused(tmp_path: Path) -> None:
    store_of(tmp_path).close()
    weights = dict(BASE.weights, second=BASE.weights["second"] + 1)
    other = replace(BASE, weights=weights)

    with pytest.raises(BaseMismatchError, match="another live graph"):
        store_of(tmp_path, other, fill=False)


def test_a_folder_of_another_precision_is_refused(tmp_path: Path) -> None:
    store_of(tmp_path).close()

    with pytest.raises(BaseMismatchError, match="precision"):
        Store(BASE.interface, "float16", tmp_path)


def test_two_sessions_never_have_one_folder(tmp_path: Path) -> None:
    store = store_of(tmp_path)

    with pytest.raises(FileAccessError, match="another session"):
        store_of(tmp_path)

    store.close()
    store_of(tmp_path, fill=False).close()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"\xff\xfe{\0}\0",
        b'{"version":"1.0","precision":"float32","adapters":{"a":[[["k",0,"x"]],null]}}',
        b'{"version":"2.0","precision":"float32","adapters":{}}',
    ],
)
def test_a_broken_index_is_refused(data: bytes, tmp_path: Path) -> None:
    store_of(tmp_path).close()
    (tmp_path / "index.json").write_bytes(data)

    with pytest.raises(InvalidAdapterError, match=r"index\.json.*; remove the folder"):
        store_of(tmp_path, fill=False)
    (tmp_path / "index.json").unlink()
    assert store_of(tmp_path, fill=False).names == []  # the folder's lock is free


def test_an_index_with_a_slot_of_two_adapters_is_refused(tmp_path: Path) -> None:
    store_of(tmp_path).close()
    path = tmp_path / "index.json"
    value = json.loads(path.read_text())
    value["adapters"]["z"] = value["adapters"]["a"]
    path.write_text(json.dumps(value))

    with pytest.raises(InvalidAdapterError, match="slots"):
        store_of(tmp_path, fill=False)


@pytest.mark.parametrize("mapped", [False, True])
def test_adapters_move_to_a_graph_with_another_bank(mapped: bool, tmp_path: Path) -> None:
    folder = tmp_path if mapped else None
    small = Handmade(BASE.weights, BASE.banks[:1])
    store = opened(small.interface, folder)
    put(store, "a", 1)

    store.adopt(BASE.interface)
    put(store, "b", 2, bank=1)

    gathered = store.gather(parsed(["a", "b"]))
    assert np.array_equal(gathered[FIRST][0], fed(1))
    assert np.array_equal(gathered[SECOND][1], fed(2, 1))


@pytest.mark.parametrize("mapped", [False, True])
def test_adapters_move_to_a_bank_with_more_seats(mapped: bool, tmp_path: Path) -> None:
    folder = tmp_path if mapped else None
    (bank, _), parameters = BASE.interface.banks, BASE.interface.parameters
    last = Interface((replace(bank, seats=bank.seats[1:]),), parameters)
    store = opened(last, folder)
    adapter = adapter_for(BASE, 1, targets=("second",))
    store.put("a", fit(adapter, last, "a"), adapter.alpha)

    store.adopt(BASE.interface)

    (row,) = store.gather(parsed("a"))[FIRST]
    coefficients = adapter.entry_sets[0].coefficients[0].astype(np.float64) * adapter.alpha
    assert np.array_equal(row, [np.zeros(12), coefficients.astype(np.float32)])
    if mapped:
        store.close()
        again = opened(BASE.interface, folder)
        assert np.array_equal(again.gather(parsed("a"))[FIRST][0], row)
        assert len(list(tmp_path.glob("*.f32"))) == 1  # the old table is gone


def test_adapters_are_not_lost_to_a_graph_without_their_bank() -> None:
    store = store_of()
    other = Handmade(BASE.weights, (BASE.banks[0], entries_of(5)))

    with pytest.raises(UnsupportedError) as caught:
        store.adopt(other.interface)

    assert caught.value.code == "E-LIVE-LAYOUT"
    assert np.array_equal(store.gather(parsed("b"))[SECOND][0], fed(2, 1))
