"""Adapters that are activated by themselves: when, and when never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fourier_format
from fourier_format.errors import UnknownAdapterError, UsageError
from fourier_runtimes import AdapterSession, planning, promoting
from fourier_runtimes.activating import MergedSessions
from fourier_runtimes.plans import Plan
from fourier_runtimes.providers import CPU
from tests.fourier_runtimes.handmade import Handmade, adapter_for, batch, handmade, plain_model
from tests.tolerances import SERVED_F32

BASE = handmade(0)
A, B = adapter_for(BASE, 1, head=True), adapter_for(BASE, 2)
AFTER = 4
X = batch(3)


@pytest.fixture
def open_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AdapterSession]:
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))

    def opened(base: Handmade = BASE, **options: Any) -> AdapterSession:
        path = tmp_path / "model.onnx"
        path.write_bytes(plain_model(base))
        adapters = {"a": A, "b": B} | options.pop("adapters", {})
        return AdapterSession(path, adapters=adapters, activate_after=AFTER, **options)

    return opened


def asked(session: AdapterSession, times: int, adapters: Any = "a", x: Any = X) -> Any:
    """Returns the last answer, and waits for what that began."""
    answers = [session.run({"x": x}, adapters) for _ in range(times)]
    assert session._promoter is not None
    session._promoter._worker.submit(int).result(60)
    return answers[-1][0]


def merged(session: AdapterSession) -> tuple[str, ...]:
    activator = session._merges._activator
    if activator is None:  # made when something is first activated
        return ()
    assert isinstance(activator, MergedSessions)
    return activator.names


def notes(session: AdapterSession) -> str:
    assert session._promoter is not None
    return "; ".join(session._promoter.notes)


def off(got: Any, wanted: Any) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def test_an_adapter_that_run_after_run_asks_for_is_merged(open_session: Any) -> None:
    with open_session() as session:
        live = asked(session, AFTER - 1)
        before = merged(session)
        asked(session, 1, ["a", "a", "a"])
        after = merged(session)
        (answer,) = session.run({"x": X}, "a")
        (mixed,) = session.run({"x": X}, ["a", "b", None])

    assert before == ()
    assert after == ("a",)
    wanted = BASE.answer(X, *[{A: 1}] * 3)
    assert off(live, wanted) < SERVED_F32
    assert off(answer, wanted) < SERVED_F32
    assert off(mixed, BASE.answer(X, {A: 1}, {B: 1}, {})) < SERVED_F32
    assert notes(session) == ""


def test_the_merged_session_is_the_one_that_answers(
    open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session() as session:
        asked(session, AFTER)
        monkeypatch.setattr(session._growing.live.runner, "run", None)

        assert off(session.run({"x": X}, "a")[0], BASE.answer(X, *[{A: 1}] * 3)) < SERVED_F32


@pytest.mark.parametrize("adapters", [["a", "b", "a"], ["a", None, "a"], {"a": 0.5}, None])
def test_runs_that_ask_for_anything_else_are_not_counted(adapters: Any, open_session: Any) -> None:
    with open_session() as session:
        asked(session, 3 * AFTER, adapters)

        assert merged(session) == ()
        assert notes(session) == ""


def test_nothing_is_activated_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(plain_model(BASE))
    with AdapterSession(path, adapters={"a": A}) as session:
        for _ in range(200):
            session.run({"x": X}, "a")

        assert session._promoter is None
        assert session._merges._activator is None


def test_there_has_to_be_room(open_session: Any) -> None:
    """Nothing that is merged already goes for it."""
    with open_session() as session:
        asked(session, AFTER)
        size = session._merges._activator.size
    for share, expected in {0.9: (), 1.9: ("a",), 2.1: ("a", "b")}.items():
        with open_session(merged_bytes=int(share * size)) as session:
            for name in ("a", "b"):
                asked(session, 4 * AFTER, name)

            assert merged(session) == expected


def test_what_the_plan_does_not_find_faster_stays_live(
    open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Plan] = []

    def other_way(*given: Any, **options: Any) -> Plan:
        seen.append(planned(*given, **options))
        monkeypatch.setattr(Plan, "best_of", lambda _, *__: "spectral")
        return seen[-1]

    planned = planning.plan
    monkeypatch.setattr(promoting, "plan", other_way)
    with open_session() as session:
        asked(session, 8 * AFTER, x=batch(2, tokens=5))

        assert merged(session) == ()
        assert len(seen) == 4  # after 4, 8, 16 and 32 runs
    again = planning.plan(BASE.interface, None, 1, 5, 2, adapter=A, weights=2 * 64 + 24)
    assert seen[0].cost("spectral").milliseconds == again.cost("spectral").milliseconds


@pytest.mark.parametrize("what", ["base", "store", "provider"])
def test_where_answers_would_differ_by_more_than_rounding_it_never_happens(
    what: str, open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = handmade(0, half=True) if what == "base" else BASE
    options = {"dtype": "float16"} if what == "store" else {}
    given = {"a": adapter_for(base, 1), "b": adapter_for(base, 2)}
    x = X.astype(np.float16) if what == "base" else X
    with open_session(base, adapters=given, **options) as session:
        if what == "provider":
            monkeypatch.setattr(promoting, "CPU", f"not {CPU}")
        asked(session, 4 * AFTER, x=x)

        assert merged(session) == ()
        assert "round" in notes(session)


def test_a_file_that_was_changed_since_is_not_merged(open_session: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.fft"
    fourier_format.save(A, path)
    with open_session(adapters={"a": path}) as session:
        fourier_format.save(adapter_for(BASE, 7, head=True), path, overwrite=True)
        answer = asked(session, AFTER)

        assert merged(session) == ()
        assert "not what its file says" in notes(session)
        assert off(answer, BASE.answer(X, *[{A: 1}] * 3)) < SERVED_F32


@pytest.mark.parametrize("what", ["load", "unload"])
def test_what_changes_while_it_is_considered_is_not_merged(
    what: str, open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = planning.plan
    with open_session() as session:

        def meanwhile(*given: Any, **options: Any) -> Plan:
            monkeypatch.setattr(promoting, "plan", planned)
            if what == "load":
                session.load(B, "a")
            else:
                session.unload("a")
            return planned(*given, **options)

        monkeypatch.setattr(promoting, "plan", meanwhile)
        asked(session, AFTER)

        assert merged(session) == ()
        if what == "load":
            (answer,) = session.run({"x": X}, "a")
            assert off(answer, BASE.answer(X, *[{B: 1}] * 3)) < SERVED_F32
        else:
            with pytest.raises(UnknownAdapterError):
                session.run({"x": X}, "a")


@pytest.mark.parametrize("what", ["load", "unload"])
def test_what_changes_afterwards_is_merged_no_longer(what: str, open_session: Any) -> None:
    with open_session() as session:
        asked(session, AFTER)
        if what == "load":
            session.load(B, "a")
            (answer,) = session.run({"x": X}, "a")
            assert off(answer, BASE.answer(X, *[{B: 1}] * 3)) < SERVED_F32
        else:
            session.unload("a")
            with pytest.raises(UnknownAdapterError):
                session.run({"x": X}, "a")


def test_a_failure_leaves_the_live_graph_serving(
    open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session() as session:
        monkeypatch.setattr(MergedSessions, "_make", None)

        answer = asked(session, AFTER + 1)

        assert notes(session).startswith("a: ")
        assert off(answer, BASE.answer(X, *[{A: 1}] * 3)) < SERVED_F32


def test_only_so_many_adapters_are_counted(
    open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promoting, "_COUNTED", 2)
    names = {str(number): B for number in range(6)}
    with open_session(adapters=names) as session:
        for name in names:
            asked(session, 1, name)

        assert list(session._promoter._counts) == ["4", "5"]


def test_a_closed_session_begins_nothing(open_session: Any) -> None:
    session = open_session()
    asked(session, AFTER - 1)
    promoter = session._promoter
    session.close()

    promoter.saw("a", {"x": X})

    assert merged(session) == ()


@pytest.mark.parametrize("after", [0, -3])
def test_it_takes_a_count(after: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(plain_model(BASE))

    with pytest.raises(UsageError, match="activate_after"):
        AdapterSession(path, activate_after=after)


def test_a_live_graph_alone_cannot_activate_by_itself() -> None:
    with pytest.raises(UsageError, match="plain"):
        AdapterSession(BASE.model(), activate_after=AFTER)
