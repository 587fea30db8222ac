"""Merged sessions beside a live graph: a name is answered with what is loaded under it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

import fourier_format
from fourier_format import Adapter
from fourier_format.errors import (
    BaseMismatchError,
    InvalidAdapterError,
    TargetNotFoundError,
    UnknownAdapterError,
    UsageError,
)
from fourier_runtimes import AdapterSession, sources
from fourier_runtimes.living import Base
from fourier_runtimes.providers import CPU, CUDA
from tests.fourier_runtimes.handmade import (
    adapter_for,
    batch,
    entries_of,
    handmade,
    plain_model,
)
from tests.fourier_runtimes.test_session import off, session_of
from tests.tolerances import SERVED_F16, SERVED_F32

BASE = handmade(0, 1)
A, C = adapter_for(BASE, 1), adapter_for(BASE, 3, head=True)
D = adapter_for(BASE, 4, targets=("second",), alpha=-3.0)
STRANGE = adapter_for(BASE, 1, entries=entries_of(9))
X = batch(3)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the base without anything live."""
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.onnx"
    path.write_bytes(plain_model(BASE))
    return path


@pytest.fixture
def live(plain: Path) -> Path:
    """Returns the live graph in a file."""
    path = plain.with_name("live.onnx")
    path.write_bytes(BASE.model())
    return path


def one_thread() -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return options


class Merged:
    """An activator that answers with sessions it was given."""

    def __init__(self) -> None:
        self.ready: dict[str, Any] = {}
        self.asked: list[tuple[str, Adapter]] = []
        self.closed = False

    @property
    def size(self) -> int:
        return 0

    @property
    def active(self) -> tuple[str, ...]:
        return tuple(self.ready)

    def activate(self, name: str, adapter: Adapter) -> None:
        self.asked.append((name, adapter))

    def deactivate(self, name: str) -> None:
        self.ready.pop(name, None)

    def adapter_of(self, name: str) -> Adapter | None:
        return dict(self.asked).get(name) if name in self.ready else None

    def session_for(self, name: str) -> Any | None:
        return self.ready.get(name)

    def wait(self, name: str, timeout: float | None = None) -> Any:
        return self.ready[name] if timeout is None else None

    def close(self) -> None:
        self.closed = True


def test_a_merged_session_answers_where_all_rows_ask_for_it(tmp_path: Path) -> None:
    fourier_format.save(A, tmp_path / "a.fft")
    merged = Merged()
    other = handmade(0)
    answering = type(BASE)({n: -w for n, w in BASE.weights.items()}, other.banks)
    with AdapterSession(BASE.model(), source=tmp_path, activator=merged) as session:
        session.activate("a")
        x = batch(2)
        (live,) = session.run({"x": x}, "a")
        merged.ready["a"] = onnxruntime.InferenceSession(plain_model(answering))

        (all_rows,) = session.run({"x": x}, ["a", "a"])
        (some,) = session.run({"x": x}, ["a", None])
        (half,) = session.run({"x": x}, {"a": 0.5})
        with pytest.raises(UsageError):
            session.run({"x": x}, ["a"])

        assert [(name, adapter.alpha) for name, adapter in merged.asked] == [("a", A.alpha)]
        assert off(live, BASE.answer(x, {A: 1}, {A: 1})) < SERVED_F32
        assert off(all_rows, answering.answer(x, {}, {})) < SERVED_F32
        assert off(some, BASE.answer(x, {A: 1}, {})) < SERVED_F32
        assert off(half, BASE.answer(x, {A: 0.5}, {A: 0.5})) < SERVED_F32
        session.load(D, "a")  # the merged session is of what was loaded before
        assert off(session.run({"x": x}, "a")[0], BASE.answer(x, {D: 1}, {D: 1})) < SERVED_F32
    assert merged.closed


def test_bytes_cannot_be_merged_into() -> None:
    with pytest.raises(UsageError, match="plain"):
        session_of().activate("a")
    with pytest.raises(UnknownAdapterError):
        session_of().activate("nobody")


@pytest.mark.parametrize("given", ["plain", "live and plain", "live"])
def test_activated_adapters_are_served_from_merged_sessions(
    given: str, plain: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AdapterSession(
        live if "live" in given else plain,
        plain=plain if "and" in given else None,
        session_options=one_thread,
        adapters={"c": C, "d": D},
    ) as session:
        for name in ("c", "d"):
            session.activate(name, wait=True)
        runs = watched_runs(session, "c", monkeypatch)

        (y,) = session.run({"x": X}, "c")
        (mixed,) = session.run({"x": X}, ["c", "d", None])
        session.deactivate("c")
        (after,) = session.run({"x": X}, "c")

    assert len(runs) == 1
    assert off(y, BASE.answer(X, *[{C: 1}] * 3)) < SERVED_F32
    assert off(after, BASE.answer(X, *[{C: 1}] * 3)) < SERVED_F32
    assert off(mixed, BASE.answer(X, {C: 1}, {D: 1}, {})) < SERVED_F32


def watched_runs(session: AdapterSession, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Returns a list that gets an entry for each run of the merged session of `name`."""
    activator = session._merges._activator
    assert activator is not None
    merged = activator.session_for(name)
    assert merged is not None
    runs: list[Any] = []
    monkeypatch.setattr(merged, "run", watched(merged.run, runs))
    return runs


def watched(run: Any, runs: list[Any]) -> Any:
    def called(*arguments: Any) -> Any:
        runs.append(arguments)
        return run(*arguments)

    return called


def test_an_adapter_without_a_place_in_the_graph_is_served_merged(
    plain: Path,
) -> None:
    strange = adapter_for(BASE, 1, entries=entries_of(9))
    x = batch(2)
    with AdapterSession(BASE.model(), plain=plain) as session:
        session.activate("strange", strange, wait=True)

        (y,) = session.run({"x": x}, "strange")

        assert session.names == []
        assert off(y, BASE.answer(x, *[{strange: 1}] * 2)) < SERVED_F32


def test_a_run_waits_for_an_adapter_that_only_a_merged_session_serves(plain: Path) -> None:
    wrong = adapter_for(BASE, 1, entries=entries_of(9), targets=("second",), prints=False)
    with AdapterSession(BASE.model(), plain=plain, unverified=True) as session:
        session.activate("strange", STRANGE)
        (y,) = session.run({"x": X}, "strange")
        session.activate("wrong", renamed(wrong, "third"))

        with pytest.raises(TargetNotFoundError, match="third"):
            session.run({"x": X}, "wrong")
        with pytest.raises(UnknownAdapterError):
            session.run({"x": X}, "nobody")

    assert off(y, BASE.answer(X, *[{STRANGE: 1}] * 3)) < SERVED_F32


@pytest.mark.parametrize("entries", [None, entries_of(9)])
def test_an_adapter_of_an_unknown_base_is_activated_only_where_it_would_be_loaded(
    entries: Any, plain: Path
) -> None:
    unknown = adapter_for(BASE, 5, entries=entries, prints=False)
    with AdapterSession(BASE.model(), plain=plain, session_options=one_thread) as session:
        with pytest.raises(BaseMismatchError, match="no fingerprint"):
            session.activate("unknown", unknown)
        with pytest.raises(UnknownAdapterError):
            session.run({"x": X}, "unknown")
    with AdapterSession(
        BASE.model(), plain=plain, session_options=one_thread, unverified=True
    ) as session:
        session.activate("unknown", unknown)

        (y,) = session.run({"x": X}, "unknown")

    assert off(y, BASE.answer(X, *[{unknown: 1}] * 3)) < SERVED_F32


def renamed(adapter: Adapter, name: str) -> Adapter:
    return replace(adapter, targets=(replace(adapter.targets[0], name=name),))


def test_an_adapter_of_the_source_stays_activated_while_rows_ask_for_it(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fourier_format.save(A, tmp_path / "a.fft")
    with AdapterSession(live, source=tmp_path, session_options=one_thread) as session:
        session.activate("a", wait=True)
        runs = watched_runs(session, "a", monkeypatch)
        session.run({"x": X}, ["a", None, "a"])

        (y,) = session.run({"x": X}, "a")

        assert session.names == ["a"]
    assert len(runs) == 1
    assert off(y, BASE.answer(X, *[{A: 1}] * 3)) < SERVED_F32


def test_an_adapter_of_the_source_that_is_not_served_live_is_activated(
    live: Path, tmp_path: Path
) -> None:
    fourier_format.save(STRANGE, tmp_path / "strange.fft")
    with AdapterSession(live, source=tmp_path, session_options=one_thread) as session:
        session.activate("strange")

        (y,) = session.run({"x": X}, "strange")

    assert off(y, BASE.answer(X, *[{STRANGE: 1}] * 3)) < SERVED_F32


def test_an_adapter_that_is_replaced_while_it_is_read_is_activated_as_the_new_one(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, adapter in {"a": A, "new": D}.items():
        fourier_format.save(adapter, tmp_path / f"{name}.fft")
    with AdapterSession(live, adapters=[tmp_path / "a.fft"], session_options=one_thread) as session:
        monkeypatch.setattr(sources, "loaded", meanwhile(lambda: session.load(D, "a")))
        session.activate("a", wait=True)
        runs = watched_runs(session, "a", monkeypatch)

        (y,) = session.run({"x": X}, "a")

    assert len(runs) == 1
    assert off(y, BASE.answer(X, *[{D: 1}] * 3)) < SERVED_F32


def test_an_adapter_that_is_unloaded_while_it_is_read_is_not_activated(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fourier_format.save(A, tmp_path / "a.fft")
    with AdapterSession(live, adapters=[tmp_path / "a.fft"], session_options=one_thread) as session:
        monkeypatch.setattr(sources, "loaded", meanwhile(lambda: session.unload("a")))

        with pytest.raises(UnknownAdapterError):
            session.activate("a")
        with pytest.raises(UnknownAdapterError):
            session.run({"x": X}, "a")


def meanwhile(deed: Any) -> Any:
    """Returns `sources.loaded`, which does something else once before it returns."""
    load, deeds = sources.loaded, [deed]

    def loaded(path: Any) -> Adapter:
        adapter = load(path)
        if deeds:
            deeds.pop()()
        return adapter

    return loaded


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_file_that_was_changed_since_is_not_activated(
    dtype: Any, live: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.fft"
    fourier_format.save(A, path)
    with AdapterSession(live, adapters=[path], dtype=dtype, session_options=one_thread) as session:
        session.activate("a", wait=True)
        (first,) = session.run({"x": X}, "a")
        session.deactivate("a")
        fourier_format.save(C, path, overwrite=True)

        with pytest.raises(InvalidAdapterError, match="no longer") as caught:
            session.activate("a")
        (y,) = session.run({"x": X}, "a")

    assert caught.value.code == "E-DIGEST"
    wanted = BASE.answer(X, *[{A: 1}] * 3)
    assert off(first, wanted) < SERVED_F32
    assert off(y, wanted) < (SERVED_F32 if dtype == "float32" else SERVED_F16)


def test_another_adapter_than_the_loaded_one_is_not_activated_under_its_name(live: Path) -> None:
    with AdapterSession(live, adapters={"a": A}, session_options=one_thread) as session:
        for other in (D, STRANGE, C):
            with pytest.raises(UsageError, match="another"):
                session.activate("a", other)
        session.activate("a", A, wait=True)


def test_a_store_s_adapter_of_unknown_origin_is_activated_if_it_is_given(
    live: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    with AdapterSession(live, adapters={"a": A}, folder=folder):
        pass
    with AdapterSession(live, folder=folder, session_options=one_thread) as session:
        with pytest.raises(UsageError, match="adapter"):
            session.activate("a")
        session.activate("a", A, wait=True)

        (y,) = session.run({"x": X}, "a")

    assert off(y, BASE.answer(X, *[{A: 1}] * 3)) < SERVED_F32


def test_an_activated_adapter_is_not_read_or_merged_again(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fourier_format.save(A, tmp_path / "a.fft")
    with AdapterSession(live, adapters=[tmp_path / "a.fft"], session_options=one_thread) as session:
        session.activate("a")
        session.activate("a", wait=True)
        runs = watched_runs(session, "a", monkeypatch)
        (tmp_path / "a.fft").unlink()
        session.activate("a", wait=True)

        session.run({"x": X}, "a")

    assert len(runs) == 1


def test_unloading_takes_the_merged_session_along(live: Path) -> None:
    with AdapterSession(live, adapters={"a": A}, session_options=one_thread) as session:
        session.activate("a", wait=True)
        session.unload("a")

        with pytest.raises(UnknownAdapterError):
            session.run({"x": X}, "a")


def test_what_is_activated_is_told_apart_from_what_is_loaded(plain: Path) -> None:
    with AdapterSession(
        BASE.model(), plain=plain, adapters={"a": A, "d": D}, session_options=one_thread
    ) as session:
        assert session.active == []
        session.activate("a", wait=True)
        session.activate("strange", STRANGE)

        assert session.names == ["a", "d"]
        assert sorted(session.active) == ["a", "strange"]
        with pytest.raises(UnknownAdapterError, match=r"activated and not loaded.*deactivate"):
            session.unload("strange")
        session.deactivate("strange")
        session.deactivate("d")
        session.unload("a")
        assert session.active == []
        session.deactivate("a")  # whose session went with it


def test_nothing_is_activated_in_a_closed_session(plain: Path) -> None:
    session = AdapterSession(plain, adapters={"a": A}, session_options=one_thread)
    session.activate("a", wait=True)
    activator = session._merges._activator
    assert activator is not None
    session.close()

    with pytest.raises(UsageError, match="closed"):
        session.activate("a", A)
    with pytest.raises(UsageError, match="closed"):
        activator.activate("a", A)


def test_merged_sessions_capture_no_cuda_graphs(plain: Path) -> None:
    graphs = (CUDA, {"enable_cuda_graph": "1", "device_id": "0"})
    base = Base(str(plain), None, [graphs, CPU], False, "auto", 2**20)

    merged: Any = base.activator(plain, 2**20)

    assert merged._providers == [(CUDA, {"device_id": "0"}), CPU]
    merged.close()
