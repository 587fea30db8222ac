from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import fourier_format
from fourier_format.adapter import Array
from fourier_format.errors import (
    BaseMismatchError,
    FileAccessError,
    FourierFormatError,
    InvalidAdapterError,
    ServingError,
    UnknownAdapterError,
    UnsupportedError,
    UsageError,
    Violation,
)
from fourier_runtimes import AdapterSession, index
from tests.fourier_runtimes.handmade import (
    adapter_for,
    bank_input,
    batch,
    entries_of,
    handmade,
    plain_model,
)
from tests.tolerances import SERVED_F16, SERVED_F32

BASE = handmade(0, 1)
A, B = adapter_for(BASE, 1), adapter_for(BASE, 2, 1)
C, D = adapter_for(BASE, 3, head=True), adapter_for(BASE, 4, targets=("second",), alpha=-3.0)
WAYS = ["fed", "bound", "fixed"]


def session_of(**options: Any) -> AdapterSession:
    session = AdapterSession(BASE.model(), **options)
    for name, adapter in {"a": A, "b": B, "c": C, "d": D}.items():
        session.load(adapter, name)
    return session


def off(got: Array, wanted: Array) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("binding", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_each_row_has_the_adapter_that_it_asks_for(binding: Any, dtype: Any) -> None:
    x = batch(6)
    session = session_of(binding=binding, dtype=dtype)
    asked = ["a", None, "c", {"a": 0.7, "b": -0.3, "c": 0.0}, "d", {"c": 0.5, "d": 2.0}]

    (y,) = session.run({"x": x}, asked)

    wanted = BASE.answer(x, {A: 1}, {}, {C: 1}, {A: 0.7, B: -0.3}, {D: 1}, {C: 0.5, D: 2.0})
    assert off(y, wanted) < (SERVED_F32 if dtype == "float32" else SERVED_F16)


@pytest.mark.parametrize("binding", WAYS)
def test_one_thing_is_for_all_rows(binding: Any) -> None:
    x = batch(3)
    session = session_of(binding=binding)

    (one,) = session.run({"x": x}, "c")
    (blend,) = session.run({"x": x}, {"a": 0.25, "b": 1.0})
    (same,) = session.run({"x": x}, ["d", "d", "d"])

    assert off(one, BASE.answer(x, *[{C: 1}] * 3)) < SERVED_F32
    assert off(blend, BASE.answer(x, *[{A: 0.25, B: 1}] * 3)) < SERVED_F32
    assert off(same, BASE.answer(x, *[{D: 1}] * 3)) < SERVED_F32


@pytest.mark.parametrize("adapters", [None, [None] * 4, [{}, None, {"a": 0.0}, None]])
def test_without_an_adapter_the_base_answers_bit_for_bit(adapters: Any) -> None:
    x = batch(4)
    plain = onnxruntime.InferenceSession(plain_model(BASE))

    (y,) = session_of().run({"x": x}, adapters)

    assert np.array_equal(y, plain.run(None, {"x": x})[0])


def test_what_is_fed_has_no_more_rows_than_it_must() -> None:
    session = session_of()
    seen: list[dict[str, tuple[int, ...]]] = []
    store = session._store
    gather = store.gather

    def watched(rows: Any) -> Any:
        seen.append({name: values.shape for name, values in gather(rows).items()})
        return gather(rows)

    store.gather = watched  # type: ignore[method-assign]
    x = batch(3)
    for adapters in (None, "a", ["a"] * 3, ["a", None, "a"]):
        session.run({"x": x}, adapters)

    first = bank_input(BASE.banks[0])
    assert seen == [{}, {first: (1, 2, 12)}, {first: (1, 2, 12)}, {first: (3, 2, 12)}]


def test_outputs_are_chosen_by_name() -> None:
    x = batch(2)

    assert len(session_of().run({"x": x}, "a", ["y"])) == 1
    with pytest.raises(ServingError):
        session_of().run({"x": x}, "a", ["z"])


@pytest.mark.parametrize("binding", WAYS)
def test_a_name_is_served_with_what_was_loaded_last(binding: Any) -> None:
    x = batch(1)
    session = session_of(binding=binding)
    session.run({"x": x}, "a")
    session.load(D, "a")

    (y,) = session.run({"x": x}, "a")

    assert off(y, BASE.answer(x, {D: 1})) < SERVED_F32


@pytest.mark.parametrize("binding", WAYS)
def test_an_unloaded_adapter_is_unknown(binding: Any) -> None:
    session = session_of(binding=binding)
    session.unload("a")

    assert session.names == ["b", "c", "d"]
    with pytest.raises(UnknownAdapterError):
        session.run({"x": batch(1)}, "a")
    with pytest.raises(UnknownAdapterError):
        session.unload("a")


def test_what_adapters_feed_is_no_input_of_a_run() -> None:
    session = session_of()
    (name, *_), x = session.interface.layouts, batch(2)

    for adapters in (None, "a"):
        with pytest.raises(UsageError, match="ask for it by name"):
            session.run({"x": x, name: np.ones((2, 1, 1), np.float32)}, adapters)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"binding": "bogus"}])
def test_a_choice_that_there_is_not_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="one of"):
        AdapterSession(BASE.model(), **options)


def test_an_unknown_name_is_told_its_neighbours() -> None:
    session = session_of()
    session.load(A, "legal-de")

    with pytest.raises(UnknownAdapterError, match="legal-de") as caught:
        session.run({"x": batch(2)}, [None, "legal-dd"])

    assert caught.value.code == "E-ADAPTER-UNKNOWN"


@pytest.mark.parametrize("binding", WAYS)
@pytest.mark.parametrize("listed", [[], ["a"], ["a", None], ["a", "a"], [None] * 4])
def test_a_list_that_does_not_fit_the_batch_is_refused(listed: list[Any], binding: Any) -> None:
    with pytest.raises(UsageError) as caught:
        session_of(binding=binding).run({"x": batch(3)}, listed)

    assert caught.value.code == "E-ADAPTER-ROWS"


def test_files_are_loaded_under_their_own_names(tmp_path: Path) -> None:
    fourier_format.save(A, tmp_path / "legal.v2.fft")
    fourier_format.save(C, tmp_path / "other.fft")
    x = batch(2)

    session = AdapterSession(BASE.model(), adapters=[tmp_path / "legal.v2.fft"])
    assert session.load(tmp_path / "other.fft") == "other"

    assert session.names == ["legal.v2", "other"]
    (y,) = session.run({"x": x}, ["other", "legal.v2"])
    assert off(y, BASE.answer(x, {C: 1}, {A: 1})) < SERVED_F32


def test_names_that_are_not_loaded_are_looked_for_in_the_source(tmp_path: Path) -> None:
    fourier_format.save(A, tmp_path / "legal.fft")
    session = AdapterSession(BASE.model(), source=tmp_path)
    x = batch(2)

    (y,) = session.run({"x": x}, ["legal", None])

    assert off(y, BASE.answer(x, {A: 1}, {})) < SERVED_F32
    assert session.names == ["legal"]
    with pytest.raises(UnknownAdapterError, match="'legal'"):
        session.run({"x": x}, "legol")


def test_all_of_a_source_is_loaded_and_the_broken_are_named(tmp_path: Path) -> None:
    for name, adapter in {"one": A, "two": B}.items():
        fourier_format.save(adapter, tmp_path / f"{name}.fft")
    data = bytearray((tmp_path / "one.fft").read_bytes())
    data[-1] ^= 1
    (tmp_path / "broken.fft").write_bytes(data)
    session = AdapterSession(BASE.model(), source=tmp_path)

    with pytest.raises(InvalidAdapterError, match=r"broken\.fft"):
        session.load_all()

    assert session.names == ["one", "two"]


def test_a_wrong_base_is_refused_and_the_others_are_served() -> None:
    session = session_of()
    weights = {name: weight + 0.01 for name, weight in BASE.weights.items()}
    other = handmade(0)
    stranger = adapter_for(type(BASE)(weights, other.banks), 1)

    with pytest.raises(BaseMismatchError, match="stranger"):
        session.load(stranger, "stranger")

    x = batch(1)
    assert off(session.run({"x": x}, "a")[0], BASE.answer(x, {A: 1})) < SERVED_F32


def test_an_adapter_without_a_fingerprint_is_refused_unless_it_is_allowed() -> None:
    bare = adapter_for(BASE, 1, prints=False)

    with pytest.raises(BaseMismatchError):
        AdapterSession(BASE.model()).load(bare, "bare")

    assert AdapterSession(BASE.model(), unverified=True).load(bare, "bare") == "bare"


def test_an_adapter_of_another_layout_is_refused_by_a_live_graph() -> None:
    with pytest.raises(UnsupportedError) as caught:
        session_of().load(adapter_for(BASE, 1, entries=entries_of(9)), "e")

    assert caught.value.code == "E-LIVE-LAYOUT"


def test_an_adapter_in_memory_needs_a_name() -> None:
    with pytest.raises(UsageError):
        session_of().load(A)


@pytest.mark.parametrize("binding", WAYS)
@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": batch(2), "z": batch(2)},
        {"x": batch(2).astype(np.float64)},
        {"x": batch(2)[..., :3]},
    ],
    ids=["missing", "unknown", "dtype", "shape"],
)
def test_what_onnx_runtime_refuses_is_a_serving_error(
    inputs: dict[str, Array], binding: Any
) -> None:
    session = session_of(binding=binding)

    with pytest.raises(ServingError) as caught:
        session.run(inputs, "a")

    assert caught.value.code == "E-RUN-FAILED"
    assert caught.value.__cause__ is not None
    x = batch(1)
    assert off(session.run({"x": x}, "a")[0], BASE.answer(x, {A: 1})) < SERVED_F32


def test_a_file_that_is_no_model_is_a_serving_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing of the sort")

    with pytest.raises(ServingError, match=r"model\.onnx"):
        AdapterSession(tmp_path / "model.onnx")
    with pytest.raises(FileAccessError):
        AdapterSession(tmp_path / "absent.onnx")


def test_a_folder_keeps_adapters_between_sessions(tmp_path: Path) -> None:
    x = batch(2)
    with session_of(folder=tmp_path, dtype="float16") as session:
        (before,) = session.run({"x": x}, ["c", "b"])

    with AdapterSession(BASE.model(), folder=tmp_path, dtype="float16") as again:
        assert again.names == ["a", "b", "c", "d"]
        assert np.array_equal(again.run({"x": x}, ["c", "b"])[0], before)


def test_a_closed_session_says_so() -> None:
    session = session_of()
    session.close()
    session.close()

    with pytest.raises(UsageError, match="closed"):
        session.run({"x": batch(1)})
    with pytest.raises(UsageError, match="closed"):
        session.load(A, "a")


@pytest.mark.parametrize("binding", WAYS)
def test_a_run_that_meets_the_closing_says_so(binding: Any) -> None:
    session = session_of(binding=binding)
    missing = session._store.missing

    def closing(names: Any) -> list[str]:
        found = missing(names)
        session.close()
        return found

    session._store.missing = closing  # type: ignore[method-assign]

    with pytest.raises(UsageError, match="closed"):
        session.run({"x": batch(1)}, "a")


@pytest.mark.parametrize("binding", WAYS)
def test_closing_waits_for_the_runs_that_have_begun(binding: Any) -> None:
    session = session_of(binding=binding)
    x, begun, go_on = batch(1), threading.Event(), threading.Event()
    missing = session._store.missing

    def slow(names: Any) -> list[str]:
        begun.set()
        assert go_on.wait(20)
        return missing(names)

    session._store.missing = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        run = pool.submit(session.run, {"x": x}, ["a"])
        assert begun.wait(20)
        closing = pool.submit(session.close)
        refused = wait_until_closed(session)
        assert not closing.done()
        go_on.set()
        closing.result(20)
        (y,) = run.result(20)

    assert "closed" in str(refused)
    assert off(y, BASE.answer(x, {A: 1})) < SERVED_F32


def wait_until_closed(session: AdapterSession) -> UsageError:
    """Returns what a run gets that begins after closing has."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            session.run({"x": batch(1)})
        except UsageError as error:
            return error
    raise TimeoutError


def test_an_adapter_that_is_put_while_the_session_is_closed_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_of()
    put = session._store.put

    def late(*arguments: Any) -> None:
        session.close()
        put(*arguments)

    monkeypatch.setattr(session._store, "put", late)

    with pytest.raises(UsageError, match="closed"):
        session.load(A, "a")


def test_a_store_whose_index_could_not_be_written_at_closing_keeps_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AdapterSession(BASE.model(), folder=tmp_path, adapters={"a": A}):
        pass
    session = AdapterSession(BASE.model(), folder=tmp_path)
    session.load(D, "d")
    with monkeypatch.context() as patched:
        patched.setattr(index, "write", full)
        with pytest.raises(FileAccessError):
            session.close()
    session.flush()

    with AdapterSession(BASE.model(), folder=tmp_path) as again:
        assert again.names == ["a"]


def full(*_: object) -> None:
    raise FileAccessError(Violation("E-IO", "index.json", "no space left on device"))


def test_what_was_loaded_while_the_source_was_read_stays(tmp_path: Path) -> None:
    fourier_format.save(A, tmp_path / "legal.fft")
    session = AdapterSession(BASE.model(), source=tmp_path)
    assert session._source is not None
    fetch = session._source.fetch

    def slow(name: str) -> Any:
        found = fetch(name)
        session.load(D, name)
        return found

    session._source.fetch = slow  # type: ignore[method-assign]
    x = batch(1)

    (y,) = session.run({"x": x}, "legal")

    assert off(y, BASE.answer(x, {D: 1})) < SERVED_F32


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        fourier_format.save(A, folder / "a.fft")

    with pytest.raises(UsageError, match="this name"):
        AdapterSession(BASE.model(), adapters=[tmp_path / "a.fft", tmp_path / "sub" / "a.fft"])


def test_errors_of_many_files_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "one.fft").write_bytes(b"")
    (tmp_path / "two.fft").write_bytes(b"x")

    with pytest.raises(FourierFormatError) as caught:
        AdapterSession(BASE.model(), source=tmp_path).load_all()

    assert len(caught.value.violations) == 2
