"""A plain base: its live graph is made in memory, and anew for entries of another sort."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import fourier_format
from fourier_format.errors import (
    FileAccessError,
    ServingError,
    TargetNotFoundError,
    UnsupportedError,
    Violation,
)
from fourier_format.live import Interface
from fourier_runtimes import AdapterSession, index
from fourier_runtimes.failures import StaleError
from fourier_runtimes.living import Binding
from tests.fourier_converters.graphs import save_external
from tests.fourier_runtimes.handmade import adapter_for, batch, handmade, plain_model
from tests.fourier_runtimes.test_session import off
from tests.tolerances import SERVED_F32

BASE = handmade(0, 1)
A, B, C = adapter_for(BASE, 1), adapter_for(BASE, 2, 1), adapter_for(BASE, 3)
NARROW = adapter_for(BASE, 5, targets=("second",))
X = batch(3)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(plain_model(BASE))
    return path


def test_a_plain_base_answers_without_adapters(plain: Path) -> None:
    session = AdapterSession(plain)

    (y,) = session.run({"x": X}, [None] * 3)

    assert np.array_equal(y, onnxruntime.InferenceSession(plain).run(None, {"x": X})[0])


def test_a_plain_base_is_made_live_for_the_adapters_that_it_is_given(plain: Path) -> None:
    session = AdapterSession(plain, adapters={"a": A, "b": B, "c": C})

    (y,) = session.run({"x": X}, ["a", {"b": 1, "c": -1}, None])

    assert off(y, BASE.answer(X, {A: 1}, {B: 1, C: -1}, {})) < SERVED_F32
    assert len(session.interface.banks) == 2


def test_a_plain_base_is_made_live_by_the_first_adapter(plain: Path) -> None:
    session = AdapterSession(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session.load(A, "a")
        session.load(C, "c")

    (y,) = session.run({"x": X}, ["a", "c", None])

    assert off(y, BASE.answer(X, {A: 1}, {C: 1}, {})) < SERVED_F32
    assert len(session.interface.banks) == 1


@pytest.mark.parametrize("binding", ["fed", "bound", "fixed"])
def test_entries_of_another_sort_make_the_graph_anew_with_a_warning(
    plain: Path, binding: Binding
) -> None:
    session = AdapterSession(plain, adapters={"a": A}, binding=binding)
    session.run({"x": X}, ["a", None, "a"])

    with pytest.warns(UserWarning, match=r"b has entries of its own.*2 banks"):
        session.load(B, "b")

    (y,) = session.run({"x": X}, ["a", "b", None])
    assert off(y, BASE.answer(X, {A: 1}, {B: 1}, {})) < SERVED_F32


def grown_by_another(session: AdapterSession, monkeypatch: pytest.MonkeyPatch) -> list[Interface]:
    """Has the next look at the graph come just before `a` makes it anew, with more targets."""
    store = session._store
    serving, before = store.serving, list[Interface]()

    def late(interface: Interface) -> AbstractContextManager[None]:
        if not before:
            before.append(interface)
            session.load(A, "a")
        return serving(interface)

    monkeypatch.setattr(store, "serving", late)
    return before


@pytest.mark.filterwarnings("ignore:a has entries of its own")
@pytest.mark.parametrize("binding", ["fed", "bound", "fixed"])
def test_a_run_under_whose_hands_the_graph_is_made_anew_begins_again(
    plain: Path, binding: Binding, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = AdapterSession(plain, adapters={"narrow": NARROW}, binding=binding)
    before = grown_by_another(session, monkeypatch)

    (y,) = session.run({"x": X}, ["narrow", None, "narrow"])

    assert session.interface is not before[0]
    assert off(y, BASE.answer(X, {NARROW: 1}, {}, {NARROW: 1})) < SERVED_F32


@pytest.mark.filterwarnings("ignore:a has entries of its own")
def test_an_adapter_that_was_fitted_to_the_old_graph_is_fitted_again(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = adapter_for(BASE, 6, targets=("second",))
    session = AdapterSession(plain, adapters={"narrow": NARROW})
    grown_by_another(session, monkeypatch)

    session.load(other, "other")

    (y,) = session.run({"x": X}, ["other", "a", None])
    assert off(y, BASE.answer(X, {other: 1}, {A: 1}, {})) < SERVED_F32


def test_more_targets_of_known_entries_make_the_graph_anew(plain: Path) -> None:
    session = AdapterSession(plain, adapters={"narrow": NARROW})

    with pytest.warns(UserWarning, match="1 bank now"):
        session.load(A, "a")

    (y,) = session.run({"x": X}, ["a", "narrow", None])
    assert off(y, BASE.answer(X, {A: 1}, {NARROW: 1}, {})) < SERVED_F32


@pytest.mark.filterwarnings("ignore:a has entries of its own")
def test_what_float16_holds_exactly_stays_exact_when_the_graph_is_made_anew(plain: Path) -> None:
    half = adapter_for(BASE, 5, targets=("second",), alpha=37.3, dtype=np.float16)
    session = AdapterSession(plain, dtype="float16", adapters={"half": half})
    session.load(A, "a")

    (fed,) = session._store.compose((("half", 1.0),)).values()

    (entry_set,) = half.entry_sets
    exact = entry_set.coefficients.astype(np.float64) * 37.3
    assert np.array_equal(fed[fed.any(axis=1)], exact.astype(np.float32))


def test_an_adapter_that_has_no_place_in_the_base_leaves_the_session_as_it_was(
    plain: Path,
) -> None:
    session = AdapterSession(plain, adapters={"a": A})
    other = handmade(0)
    strange = adapter_for(type(BASE)({k: w * 2 for k, w in BASE.weights.items()}, other.banks), 1)
    renamed = replace(
        strange,
        targets=tuple(replace(t, name=f"nowhere.{t.name}") for t in strange.targets),
    )

    with pytest.raises((TargetNotFoundError, UnsupportedError)):
        session.load(renamed, "renamed")

    (y,) = session.run({"x": X}, ["a", "a", None])
    assert off(y, BASE.answer(X, {A: 1}, {A: 1}, {})) < SERVED_F32


@pytest.mark.filterwarnings("ignore:[ab] has entries of its own")
def test_a_disk_that_is_full_while_the_graph_is_made_anew_leaves_the_session_as_it_was(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise FileAccessError(Violation("E-IO", "index.json", "no space left on device"))

    folder = tmp_path / "store"
    with AdapterSession(plain, folder=folder, adapters={"narrow": NARROW}) as session:
        files = {path.name for path in folder.iterdir()}
        with monkeypatch.context() as patched:
            patched.setattr(index, "write", full)
            for name, adapter in {"a": A, "b": B}.items():  # one more target, one more bank
                with pytest.raises(FileAccessError):
                    session.load(adapter, name)
        assert {path.name for path in folder.iterdir()} == files
        (before,) = session.run({"x": X}, ["narrow", None, "narrow"])

        session.load(A, "a")
        session.load(B, "b")

        (after,) = session.run({"x": X}, ["narrow", "a", "b"])
    assert off(before, BASE.answer(X, {NARROW: 1}, {}, {NARROW: 1})) < SERVED_F32
    assert off(after, BASE.answer(X, {NARROW: 1}, {A: 1}, {B: 1})) < SERVED_F32


def test_the_user_s_session_options_are_good_for_other_models_afterwards(
    plain: Path, tmp_path: Path
) -> None:
    outside = {name: tmp_path / name / "model.onnx" for name in ("served", "other")}
    for factor, path in enumerate(outside.values(), 1):
        path.parent.mkdir()
        weights = {name: weight * factor for name, weight in BASE.weights.items()}
        model = onnx.load_from_string(plain_model(type(BASE)(weights, ())))
        save_external(model, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    key = "session.model_external_initializers_file_folder_path"

    session = AdapterSession(outside["served"], session_options=options, adapters={"a": A})
    (y,) = session.run({"x": X}, ["a", None, "a"])
    other = onnxruntime.InferenceSession(outside["other"], options)

    assert off(y, BASE.answer(X, {A: 1}, {}, {A: 1})) < SERVED_F32
    assert options.get_session_config_entry(key) == ""
    doubled = type(BASE)({name: weight * 2 for name, weight in BASE.weights.items()}, ())
    assert off(other.run(None, {"x": X})[0], doubled.answer(X, {}, {}, {})) < SERVED_F32
    options.add_session_config_entry(key, str(tmp_path))
    AdapterSession(outside["served"], session_options=options, adapters={"a": A})
    assert options.get_session_config_entry(key) == str(tmp_path)


def test_a_graph_that_is_never_at_rest_is_an_error_of_its_own(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = AdapterSession(plain, adapters={"a": A})

    def stale(_: Interface) -> AbstractContextManager[None]:
        raise StaleError

    monkeypatch.setattr(session._store, "serving", stale)

    with pytest.raises(ServingError, match="anew all the time"):
        session.run({"x": X}, ["a", None, None])
    with pytest.raises(ServingError, match="anew all the time"):
        session.load(C, "c")


def test_files_of_one_sort_are_looked_at_once_for_the_graph(plain: Path, tmp_path: Path) -> None:
    for seed in range(5):
        fourier_format.save(adapter_for(BASE, seed), tmp_path / f"n{seed}.fft")

    session = AdapterSession(plain, adapters=sorted(tmp_path.glob("*.fft")))

    assert session.names == [f"n{seed}" for seed in range(5)]
    assert len(session._growing._sorts) == 1
