"""Threads on one session of MiniLM: no wrong row, no leak, no crash."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fourier_format
from fourier_format.errors import UnknownAdapterError
from fourier_runtimes import AdapterSession
from tests.real.checks import compare, figures
from tests.real.serving import Form, alone, batch, form, one_thread, variants
from tests.real.stress import Known, Stress
from tests.real.workspace import WorkspaceOf
from tests.tolerances import SERVED_ROWS_F32

pytestmark = pytest.mark.real
_FIXED = ("legal", "support", "formal")
_THREADS = 16
_GROWN = {False: 3, True: 45}
"""MiB, without activation and with it: of merged sessions, one takes 15; seen 0.7 and 24."""


@pytest.fixture(scope="module")
def served(workspace_of: WorkspaceOf) -> tuple[Form, list[Known]]:
    """Return the base, and some adapters with what they must give; the last two of one name."""
    base = form(workspace_of("minilm-query-value"), "torchscript")
    adapters = variants(base.adapter, len(_FIXED) + 2)
    return base, [Known(a, alone(base.base, a, batch(3))) for a in adapters]


def stressed(
    served: tuple[Form, list[Known]], files: Path, seconds: float, activating: int, **how: Any
) -> Stress:
    """Returns what threads met, of which `activating` have merged sessions made."""
    base, known = served
    fixed = dict(zip(_FIXED, known, strict=False))
    for name, one in fixed.items():
        fourier_format.save(one.adapter, files / f"{name}.fft")
    with AdapterSession(
        base.live, session_options=one_thread, source=files, merged_bytes=40 * 2**20, **how
    ) as session:
        if activating:
            session.activate(_FIXED[0], wait=True)  # the base is prepared for merging once
        plain = alone(base.base, None, batch(3))
        pair = (known[-2], known[-1])
        stress = Stress(session, batch(3), plain, fixed, pair, SERVED_ROWS_F32)
        stress.last(seconds, _THREADS, activating)
    return stress


@pytest.mark.parametrize("how", [{}, {"binding": "bound"}, {"folder": True}])
def test_rows_are_right_while_adapters_come_go_change_and_are_merged(
    how: dict[str, Any],
    served: tuple[Form, list[Known]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))
    stored = {"folder": tmp_path / "store"} if "folder" in how else {}

    stress = stressed(served, tmp_path, 5, 4, **how | stored)

    assert stress.errors == []
    assert stress.done > _THREADS


@pytest.mark.slow
@pytest.mark.parametrize("activating", [0, 4])
def test_memory_stays_flat_for_half_a_minute(
    activating: int,
    served: tuple[Form, list[Known]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))

    stress = stressed(served, tmp_path, 30, activating)

    figures.info("%d deeds, %.1f MiB more", stress.done, stress.growth())
    assert stress.errors == []
    assert stress.growth() <= _GROWN[activating > 0]


@pytest.mark.parametrize("merged", [False, True])
def test_an_adapter_that_is_unloaded_in_use_finishes_its_runs(
    merged: bool,
    served: tuple[Form, list[Known]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))
    base, (one, other, *_) = served
    with AdapterSession(base.live, session_options=one_thread, adapters={"a": one.adapter}) as s:
        used: Any = s.session
        if merged:
            s.activate("a", wait=True)
            assert s._merges._activator is not None
            used = s._merges._activator.session_for("a")
        begun, go = threading.Event(), threading.Event()
        monkeypatch.setattr(used, "run", held_up(used.run, begun, go))
        answers: list[Any] = []
        run = threading.Thread(target=lambda: answers.append(s.run(batch(3), "a")))
        run.start()
        assert begun.wait(30)

        s.unload("a")
        s.load(other.adapter, "b")  # it may take the place that became free
        go.set()
        run.join()

        ((got, *_),) = answers
        assert compare(one.outputs[0], got) <= SERVED_ROWS_F32
        with pytest.raises(UnknownAdapterError):
            s.run(batch(3), "a")


def held_up(
    run: Callable[..., Any], begun: threading.Event, go: threading.Event
) -> Callable[..., Any]:
    def later(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return run(*arguments)

    return later


def test_the_threads_see_a_wrong_row(served: tuple[Form, list[Known]], tmp_path: Path) -> None:
    base, known = served
    swapped = [Known(known[1].adapter, known[0].outputs), known[1], *known[2:]]
    mixed = [
        np.concatenate([old[:1], new[1:]])
        for old, new in zip(known[-2].outputs, known[-1].outputs, strict=True)
    ]
    halves = [*known[:-2], Known(known[-2].adapter, mixed), Known(known[-1].adapter, mixed)]

    for wrong in (swapped, halves):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        stress = stressed((base, wrong), folder, 5, 0)
        assert any(isinstance(error, AssertionError) for error in stress.errors)
