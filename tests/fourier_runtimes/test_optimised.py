"""The cache of optimised bases: one copy of each, and none removed that someone uses."""

from __future__ import annotations

import gc
import os
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from fourier_converters.directories import staged_directory
from fourier_converters.onnx.model import Model
from fourier_format import atomic
from fourier_runtimes import optimised as module
from fourier_runtimes.optimised import DATA, MODEL, Opening, key_of, optimised
from tests.fourier_converters.graphs import save_external
from tests.fourier_converters.onnx.test_preparing import assert_near, variant
from tests.fourier_runtimes.test_activating import (
    FIRST,
    activated,
    base_model,
    expected,
    new,
    run,
)

CPU = ["CPUExecutionProvider"]
OTHER = [("CPUExecutionProvider", {"use_arena": "0"})]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return save_external(base_model(), tmp_path / "base" / "base.onnx")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def touch(base: Path) -> None:
    os.utime(base, ns=(1, base.stat().st_mtime_ns + 1))


def kept(cache: Path) -> set[Path]:
    return {path.parent for path in cache.rglob(MODEL)}


def open_(opening: Opening) -> Any:
    return onnxruntime.InferenceSession(opening.path, providers=CPU)


def changed_file(base: Path, _: pytest.MonkeyPatch) -> None:
    touch(base)


def changed_data(base: Path, _: pytest.MonkeyPatch) -> None:
    (data,) = set(base.parent.iterdir()) - {base}
    shutil.copy(data, data.with_suffix(".new"))
    data.with_suffix(".new").replace(data)


def changed_runtime(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "99.0")


@pytest.mark.parametrize("change", [changed_file, changed_data, changed_runtime])
def test_the_former_copy_of_a_base_that_changed_is_removed(
    change: Callable[[Path, pytest.MonkeyPatch], None],
    base: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    former = optimised(base, CPU, cache).path
    change(base, monkeypatch)

    latter = optimised(base, CPU, cache)

    assert latter.path != former
    assert set(cache.iterdir()) == {latter.path.parent}
    assert open_(latter)


def test_copies_for_other_providers_and_of_other_bases_stay(base: Path, cache: Path) -> None:
    (base.parent / "b").mkdir()
    second = save_external(base_model(), base.parent / "b" / "base.onnx")
    paths = {
        optimised(base, CPU, cache).path.parent,
        optimised(second, CPU, cache).path.parent,
        optimised(base, OTHER, cache).path.parent,
    }

    assert len(paths) == 3
    assert kept(cache) == paths

    touch(base)
    new = optimised(base, CPU, cache).path.parent

    assert kept(cache) == {optimised(second, CPU, cache).path.parent, new}


@pytest.mark.skipif(atomic.fcntl is None, reason="the system has no locks")
def test_a_copy_that_someone_has_open_is_removed_only_later(base: Path, cache: Path) -> None:
    former = optimised(base, CPU, cache)
    touch(base)

    latter = optimised(base, CPU, cache)

    assert kept(cache) == {former.path.parent, latter.path.parent}
    assert open_(former)

    del former
    gc.collect()
    touch(base)
    last = optimised(base, CPU, cache)

    assert kept(cache) == {latter.path.parent, last.path.parent}


@pytest.mark.skipif(atomic.fcntl is None, reason="the system has no locks")
def test_merged_sessions_keep_their_copy_until_they_are_closed(
    base: Path, cache: Path, tmp_path: Path
) -> None:
    sessions = new(base, tmp_path)
    first = activated(sessions, {"a": FIRST})["a"]
    touch(base)
    optimised(base, CPU, cache)
    other = variant(FIRST, 1)

    second = activated(sessions, {"b": other})["b"]

    assert sessions.notes == []
    assert len(kept(cache)) == 2

    sessions.close()
    touch(base)
    last = optimised(base, CPU, cache).path.parent

    assert kept(cache) == {last}
    assert_near(run(first), expected(FIRST))
    assert_near(run(second), expected(other))


@pytest.mark.skipif(atomic.fcntl is None, reason="the system has no locks")
@pytest.mark.parametrize("made_again", [False, True])
def test_a_copy_that_is_removed_between_the_look_and_the_lock_is_looked_for_anew(
    made_again: bool, base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, moved = atomic.share, list[Path]()

    def removed_before(descriptor: int) -> None:
        if not moved:
            moved.append(folder.rename(cache.with_name("moved")))
            if made_again:
                shutil.copytree(moved[0], folder)
        share(descriptor)

    folder = optimised(base, CPU, cache).path.parent
    monkeypatch.setattr(module, "share", removed_before)

    opening = optimised(base, CPU, cache)

    assert opening == Opening(folder / MODEL, reoptimised=False)
    assert moved
    touch(base)
    optimised(base, CPU, cache)
    assert open_(opening)  # it is held


def test_what_is_not_whole_is_made_anew(base: Path, cache: Path) -> None:
    folder = optimised(base, CPU, cache).path.parent
    (folder / MODEL).unlink()

    opening = optimised(base, CPU, cache)

    assert opening.note is None
    assert {path.name for path in folder.iterdir()} == {MODEL, DATA}


def test_what_a_killed_removal_left_is_removed(
    base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        (path / MODEL).unlink()
        raise KeyboardInterrupt

    optimised(base, CPU, cache)
    touch(base)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            optimised(base, CPU, cache)
    assert len(list(cache.iterdir())) == 1

    opening = optimised(base, CPU, cache)

    assert list(cache.iterdir()) == [opening.path.parent]


@pytest.mark.skipif(atomic.fcntl is None, reason="the system has no locks")
def test_what_a_killed_run_was_making_is_removed_and_what_is_being_made_is_not(
    base: Path, cache: Path
) -> None:
    which, _, whom = key_of(Model(base), CPU).split("-")
    (cache / f".{which}-former-{whom}.0123456789ab.partial").mkdir(parents=True)

    with staged_directory(cache / f"{which}-other-{whom}", (MODEL,)) as made:
        opening = optimised(base, CPU, cache)

        assert set(cache.iterdir()) == {opening.path.parent, made}


def test_without_locks_nothing_is_removed(
    base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "fcntl", None)
    former = optimised(base, CPU, cache)
    touch(base)

    latter = optimised(base, CPU, cache)

    assert kept(cache) == {former.path.parent, latter.path.parent}
    (former.path).unlink()
    touch(base)
    monkeypatch.setattr(module, "key_of", lambda *_: former.path.parent.name)
    assert "is not whole" in str(optimised(base, CPU, cache).note)


@pytest.mark.skipif(atomic.fcntl is None, reason="the system has no locks")
def test_threads_that_see_a_base_in_other_states_never_lose_what_they_open(
    base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, drawn = key_of(Model(base), CPU), random.Random(0)
    which, _, whom = key.split("-")
    monkeypatch.setattr(module, "key_of", lambda *_: f"{which}-{drawn.randrange(3)}-{whom}")

    def serve(_: int) -> bool:
        opening = optimised(base, CPU, cache)
        return bool(open_(opening)) and opening.path != base

    with ThreadPoolExecutor(4) as pool:
        served = list(pool.map(serve, range(40)))

    assert sum(served) > 20  # the others were told to do without
