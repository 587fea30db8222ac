"""A directory is whole or absent: after errors, Ctrl-C, kills and simultaneous runs."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fourier_converters import directories
from fourier_converters.directories import files_in, staged_directory
from fourier_format import atomic
from fourier_format.errors import FileAccessError, OutputExistsError

FILES = ["a.txt", "sub/b.txt"]

STOP_AT = """
import os, shutil, signal, sys
from pathlib import Path
from typing import Any
from fourier_converters.directories import staged_directory
path, moment, number = Path(sys.argv[1]), sys.argv[2], getattr(signal, sys.argv[3])
def stopping(real, *moments):
    left = list(moments)
    def call(*arguments, **options):
        reach(left.pop(0) if left else None)
        return real(*arguments, **options)
    return call
def reach(here):
    if here == moment:
        os.kill(os.getpid(), number)
Path.rename = stopping(Path.rename, "first rename", "second rename")
shutil.rmtree = stopping(shutil.rmtree, "removal")
with staged_directory(path, ["a.txt", "sub/b.txt"], overwrite=True) as folder:
    (folder / "a.txt").write_text("new")
    reach("writing")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("new")
"""

MOMENTS = [
    ("writing", {}, False),
    ("first rename", {}, False),
    ("removal", {}, True),
    ("writing", dict.fromkeys(FILES, "old"), False),
    ("first rename", dict.fromkeys(FILES, "old"), False),
    ("second rename", dict.fromkeys(FILES, "old"), False),
    ("removal", dict.fromkeys(FILES, "old"), True),
]
"""Where a run is stopped, what was there before, and whether the new directory has its name."""

WAIT = """
import sys
from pathlib import Path
from typing import Any
from fourier_converters.directories import staged_directory
with staged_directory(Path(sys.argv[1]), ["a.txt"]) as folder:
    (folder / "a.txt").write_text("other")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def write(path: Path, text: str = "new", overwrite: bool = False) -> None:
    with staged_directory(path, FILES, overwrite) as folder:
        fill(folder, text)


def fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(text)


def content(path: Path) -> dict[str, str]:
    return {name: (path / name).read_text() for name in files_in(path)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WHOLE = dict.fromkeys(FILES, "new")
OLD = dict.fromkeys(FILES, "old")


def stopped(path: Path, moment: str, number: signal.Signals) -> int:
    """Run a writer that gets a signal at the given moment; returns its exit code."""
    command = [sys.executable, "-c", STOP_AT, str(path), moment, number.name]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


def test_a_directory_appears_whole_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "d"

    with staged_directory(path, FILES) as folder:
        fill(folder, "new")
        assert not path.exists()
        assert folder.parent == tmp_path

    assert content(path) == WHOLE
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("before", [{}, OLD])
def test_an_exception_leaves_nothing_behind_and_the_old_directory_as_it_was(
    tmp_path: Path, error: type[BaseException], before: dict[str, str]
) -> None:
    path = tmp_path / "d"
    if before:
        write(path, "old")

    def write_half() -> None:
        with staged_directory(path, FILES, overwrite=True) as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(FileAccessError if error is OSError else error):
        write_half()

    assert names(tmp_path) == (["d"] if before else [])
    assert not before or content(path) == OLD


def test_where_no_directory_can_be_opened_one_appears_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows opens none, has no flock, and syncs only what is open for writing."""
    opened, synced = os.open, os.fsync

    def open_files(path: Any, flags: int, *mode: Any, **options: Any) -> int:
        if Path(path).is_dir() and not options:  # shutil gives some, where it opens directories
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *mode, **options)

    def sync_writable(descriptor: int) -> None:
        os.write(descriptor, b"")
        synced(descriptor)

    monkeypatch.setattr(atomic, "fcntl", None)
    monkeypatch.setattr(os, "open", open_files)
    monkeypatch.setattr(os, "fsync", sync_writable)

    write(tmp_path / "d", "old")
    write(tmp_path / "d", overwrite=True)

    monkeypatch.undo()
    assert content(tmp_path / "d") == WHOLE
    assert names(tmp_path) == ["d"]


def test_an_existing_directory_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write(tmp_path / "d", "old")

    with pytest.raises(OutputExistsError, match="the output exists already"):
        write(tmp_path / "d")

    assert content(tmp_path / "d") == OLD


def test_an_older_version_is_replaced_on_request(tmp_path: Path) -> None:
    write(tmp_path / "d", "old")

    write(tmp_path / "d", overwrite=True)

    assert content(tmp_path / "d") == WHOLE
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize(
    "other", ["mine.txt", "sub/mine.txt", "deep/er/mine.txt", "empty/", "link"]
)
def test_a_directory_that_holds_anything_else_is_never_removed(other: str, tmp_path: Path) -> None:
    path = tmp_path / "d"
    write(path, "old")
    place = path / other
    if other == "empty/":
        place.mkdir()
    elif other == "link":
        place.symlink_to(tmp_path)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("mine")

    with pytest.raises(
        OutputExistsError, match="not of this result, and are not removed"
    ) as caught:
        write(path, overwrite=True)

    assert caught.value.violations[0].got == other
    assert (path / "a.txt").read_text() == "old"
    assert place.exists()
    assert names(tmp_path) == ["d"]


def test_what_comes_into_the_old_directory_meanwhile_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "d", "old")

    def write_slowly() -> None:
        with staged_directory(tmp_path / "d", FILES, overwrite=True) as folder:
            fill(folder, "new")
            (tmp_path / "d" / "mine.txt").write_text("mine")

    with pytest.raises(OutputExistsError):
        write_slowly()

    assert content(tmp_path / "d") == OLD | {"mine.txt": "mine"}


def test_a_directory_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def write_slowly() -> None:
        with staged_directory(tmp_path / "d", FILES) as folder:
            fill(folder, "new")
            fill(tmp_path / "d", "old")

    with pytest.raises(OutputExistsError):
        write_slowly()

    assert content(tmp_path / "d") == OLD
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("sort", ["file", "link", "dangling"])
def test_what_is_no_directory_is_never_replaced(sort: str, tmp_path: Path) -> None:
    path, real = tmp_path / "d", tmp_path / "real"
    if sort == "file":
        path.write_text("mine")
    else:
        path.symlink_to(real)
    if sort == "link":
        fill(real, "old")

    with pytest.raises(FileAccessError, match="something else has its name"):
        write(path, overwrite=True)

    assert path.is_symlink() == (sort != "file")


def test_the_parent_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="the directory of the output does not exist"):
        write(tmp_path / "absent" / "d")


@pytest.mark.parametrize(("moment", "before", "committed"), MOMENTS)
def test_what_a_killed_run_leaves_is_put_right_by_the_next(
    moment: str, before: dict[str, str], committed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "d"
    if before:
        write(path, "old")

    assert stopped(path, moment, signal.SIGKILL) == -signal.SIGKILL

    with pytest.raises(RuntimeError), staged_directory(path, FILES, overwrite=True):
        raise RuntimeError  # the next run fails; even so it has put things right
    expected = WHOLE if committed else before
    assert names(tmp_path) == (["d"] if expected else [])
    assert not expected or content(path) == expected


@pytest.mark.parametrize(("moment", "before", "committed"), MOMENTS)
def test_ctrl_c_leaves_the_old_directory_or_the_new_and_nothing_else(
    moment: str, before: dict[str, str], committed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "d"
    if before:
        write(path, "old")

    assert stopped(path, moment, signal.SIGINT) == -signal.SIGINT

    expected = WHOLE if committed else before
    assert names(tmp_path) == (["d"] if expected else [])
    assert not expected or content(path) == expected


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_old_directory_that_cannot_be_put_back_waits_for_the_next_run(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, renamed = tmp_path / "d", list[Path]()
    write(path, "old")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) > 1:
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(FileAccessError if error is OSError else error):
        write(path, overwrite=True)
    (waiting,) = tmp_path.iterdir()
    assert content(waiting) == OLD

    monkeypatch.undo()
    with pytest.raises(OutputExistsError):
        write(path)  # it has the name again
    assert names(tmp_path) == ["d"]
    assert content(path) == OLD


def test_half_of_an_old_directory_is_never_put_back(tmp_path: Path) -> None:
    path = tmp_path / "d"
    write(path, "old")
    assert stopped(path, "removal", signal.SIGKILL) == -signal.SIGKILL
    shutil.rmtree(path)

    write(path)

    assert names(tmp_path) == ["d"]
    assert content(path) == WHOLE


def test_a_directory_that_another_run_is_writing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with subprocess.Popen(
        [sys.executable, "-c", WAIT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"

        write(path)

        assert len(names(tmp_path)) == 2
        other.communicate("go on\n", timeout=60)
    assert other.returncode != 0  # the name is taken now
    assert content(path) == WHOLE
    assert names(tmp_path) == ["d"]


def test_one_that_is_tidied_away_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tidied = os.open, list[Path]()

    def opening(path: Path, flags: int) -> int:
        if not tidied:
            tidied.append(path)
            path.rmdir()
        return real(path, flags)

    monkeypatch.setattr(os, "open", opening)
    write(tmp_path / "d")

    assert tidied[0].suffix == ".partial"
    assert names(tmp_path) == ["d"]
    assert content(tmp_path / "d") == WHOLE


@pytest.mark.skipif(atomic.fcntl is None, reason="the system has no locks")
def test_nobody_begins_to_write_in_what_is_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = tmp_path / ".d.0123456789ab.partial"
    orphan.mkdir()
    remove, locks = shutil.rmtree, list[bool]()

    def removing(directory: Path, **options: Any) -> None:
        if directory == orphan and orphan.exists():
            descriptor = os.open(orphan, os.O_RDONLY)
            locks.append(atomic.lock(descriptor))
            os.close(descriptor)
        remove(directory, **options)

    monkeypatch.setattr(shutil, "rmtree", removing)
    write(tmp_path / "d")

    assert locks == [False]
    assert names(tmp_path) == ["d"]


def test_only_what_belongs_to_this_output_is_removed(tmp_path: Path) -> None:
    kept = [".e.0123456789ab.partial", ".d.0123.partial", "d.0123456789ab.partial"]
    for name in [*kept, ".d.0123456789ab.partial", ".d.0123456789ac.replaced", "d"]:
        (tmp_path / name).mkdir()
    (tmp_path / ".d.0123456789ad.partial").write_text("a file of atomic.staged")

    write(tmp_path / "d", overwrite=True)

    assert names(tmp_path) == sorted([*kept, ".d.0123456789ad.partial", "d"])


def test_the_files_are_durable_before_the_directory_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    real_sync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)

    write(tmp_path / "d")

    assert set(done[: done.index("rename")]) >= {"a.txt", "b.txt", "sub"}
    assert done[-1] == tmp_path.name


def test_without_locks_nothing_of_others_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "lock", lambda _: False)
    (tmp_path / ".d.0123456789ab.partial").mkdir()

    write(tmp_path / "d")

    assert names(tmp_path) == [".d.0123456789ab.partial", "d"]
