"""Output is whole or absent: after errors, Ctrl-C, kills, full disks and races."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fourier_format
from fourier_format import atomic
from fourier_format.atomic import companion, exclusive, refuse_existing, staged, write_bytes
from fourier_format.errors import FileAccessError, OutputExistsError
from tests.fourier_format import minimal

ROOT = Path(__file__).parents[2]

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from fourier_format.atomic import staged
with staged(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""

WRITE_TOO_MUCH = """
import resource, sys
from pathlib import Path
from fourier_format.atomic import write_bytes
from fourier_format.errors import FileAccessError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 5000, overwrite=True)
except FileAccessError as error:
    print(error)
"""

SAVE_AT_ONCE = """
import sys, time
from pathlib import Path
from fourier_format.atomic import write_bytes
from fourier_format.errors import FileAccessError
path, mine = Path(sys.argv[1]), sys.argv[2].encode() * 100_000
print("ready", flush=True)
sys.stdin.readline()
try:
    write_bytes(path, mine)
    print("won")
except FileAccessError as error:
    print(error.code)
"""

OVERWRITE_OFTEN = """
import sys
from pathlib import Path
from fourier_format.atomic import write_bytes
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    write_bytes(Path(sys.argv[1]), sys.argv[2].encode() * 1000, overwrite=True)
print("done")
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python that runs `code`; with pipes, in an environment that finds the package."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def stop(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Wait for the first line of a process's output, then send it a signal and wait for its end."""
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        process.wait(timeout=30)


def start_at_once(writers: list[subprocess.Popen[str]]) -> list[str]:
    """Let processes go that wait for a line, when all are ready; return what each says."""
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return [writer.communicate(timeout=60)[0].strip() for writer in writers]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    with staged(path) as file:
        file.write(b"whole")
        assert not path.exists()

    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_exception_leaves_nothing_behind_and_the_old_file_as_it_was(
    tmp_path: Path, error: type[BaseException], overwrite: bool
) -> None:
    path = tmp_path / "a.bin"
    if overwrite:
        path.write_bytes(b"old")

    def write_half() -> None:
        with staged(path, overwrite) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()

    assert names(tmp_path) == (["a.bin"] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"old"


def test_an_error_of_the_system_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    with pytest.raises(FileAccessError) as caught, staged(path):
        raise OSError(28, "No space left on device")

    assert str(caught.value) == f"{path}: cannot write the file: No space left on device [E-IO]"
    assert isinstance(caught.value.__cause__, OSError)
    assert names(tmp_path) == []


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    with python(WRITE_TOO_MUCH, str(path)) as process:
        said, _ = process.communicate(timeout=30)

    assert "cannot write the file" in said
    assert "[E-IO]" in said
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    process = python(WRITE_AND_WAIT, str(tmp_path / "a.bin"))

    stop(process, signal.SIGINT)

    assert names(tmp_path) == []


def test_a_killed_run_leaves_no_half_file_and_the_next_run_removes_its_orphan(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.fft"

    stop(python(WRITE_AND_WAIT, str(path)), signal.SIGKILL)

    (orphan,) = names(tmp_path)
    assert orphan.startswith(".a.fft.")
    assert orphan.endswith(".partial")

    fourier_format.save(minimal.adapter(), path)

    assert names(tmp_path) == ["a.fft"]
    assert fourier_format.load(path).targets == minimal.adapter().targets


def test_the_unfinished_work_of_a_running_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    process = python(WRITE_AND_WAIT, str(path))
    with process:
        assert process.stdout is not None
        process.stdout.readline()

        write_bytes(path, b"mine")
        during = names(tmp_path)
        process.kill()

    assert len(during) == 2
    assert path.read_bytes() == b"mine"


def test_orphans_of_other_outputs_links_and_other_files_are_left_alone(tmp_path: Path) -> None:
    others = [
        ".a.bin.0123456789ab.part",
        ".a.bin.important.partial",
        ".b.bin.0123456789ab.partial",
        "a.bin.partial",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "elsewhere").write_text("mine")
    link = tmp_path / ".a.bin.0123456789ab.partial"
    link.symlink_to("elsewhere")

    write_bytes(tmp_path / "a.bin", b"new")

    assert set(names(tmp_path)) == {*others, "elsewhere", link.name, "a.bin"}


def test_what_went_with_a_killed_runs_file_is_removed_with_it(tmp_path: Path) -> None:
    for name in (".a.bin.0123456789ab.partial", "a.bin.0123456789ab.0.data", "a.bin.mine.0.data"):
        (tmp_path / name).write_text("")

    write_bytes(tmp_path / "a.bin", b"new")

    assert names(tmp_path) == ["a.bin", "a.bin.mine.0.data"]


def test_what_goes_with_a_published_file_stays_though_its_run_was_killed_then(
    tmp_path: Path,
) -> None:
    partial = tmp_path / ".a.bin.0123456789ab.partial"
    partial.write_text("whole")
    (tmp_path / "renamed.bin").hardlink_to(partial)
    (tmp_path / "a.bin.0123456789ab.0.data").write_text("")

    write_bytes(tmp_path / "a.bin", b"new")

    assert names(tmp_path) == ["a.bin", "a.bin.0123456789ab.0.data", "renamed.bin"]


def test_the_companions_of_a_run_in_progress_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with staged(path) as file:
        other = companion(path, file, "0.data")
        other.write_text("")

        write_bytes(path, b"another run")

        assert other.exists()
        path.unlink()
    assert names(tmp_path) == ["a.bin", other.name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_pipe_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(FileAccessError):
        write_bytes(tmp_path / "pipe", b"new", overwrite=overwrite)

    assert (tmp_path / "pipe").is_fifo()


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    with pytest.raises(OutputExistsError), staged(path):
        path.write_bytes(b"theirs")

    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin"]


def test_of_several_writers_at_once_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    writers = [python(SAVE_AT_ONCE, str(path), letter) for letter in "abcd"]

    said = start_at_once(writers)

    assert said.count("won") == 1
    winner = "abcd"[said.index("won")].encode()
    assert path.read_bytes() == winner * 100_000
    assert names(tmp_path) == ["a.bin"]


def test_writers_that_overwrite_each_other_do_not_take_each_others_work_for_an_orphan(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.bin"
    writers = [python(OVERWRITE_OFTEN, str(path), letter) for letter in "abcd"]

    said = start_at_once(writers)

    assert said == ["done"] * 4
    assert len(set(path.read_bytes())) == 1
    assert names(tmp_path) == ["a.bin"]


def test_a_link_at_the_outputs_place_counts_as_existing_even_if_it_leads_nowhere(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.bin"
    path.symlink_to("nowhere")

    with pytest.raises(OutputExistsError):
        refuse_existing(path, overwrite=False)
    with pytest.raises(OutputExistsError):
        write_bytes(path, b"new")

    assert names(tmp_path) == ["a.bin"]
    assert path.is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_where_there_are_no_locks_a_file_is_closed_before_it_gets_its_name(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, closed = atomic._publish, []

    def published(temporary: Path, path: Path, overwrite: bool) -> None:
        closed.append(file.closed)
        publish(temporary, path, overwrite)

    monkeypatch.setattr(atomic, "fcntl", None)
    monkeypatch.setattr(atomic, "_publish", published)

    with staged(tmp_path / "a.bin", overwrite) as file:
        file.write(b"whole")

    assert closed == [True]
    assert (tmp_path / "a.bin").read_bytes() == b"whole"
    assert names(tmp_path) == ["a.bin"]


def test_a_missing_directory_is_told_before_any_work_is_done(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="create it"):
        refuse_existing(tmp_path / "missing" / "a.bin", overwrite=True)


def test_where_hard_links_do_not_exist_the_file_is_renamed_and_still_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)

    write_bytes(tmp_path / "a.bin", b"new")
    with pytest.raises(OutputExistsError), staged(tmp_path / "b.bin"):
        (tmp_path / "b.bin").write_bytes(b"theirs")

    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert (tmp_path / "b.bin").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin", "b.bin"]


def test_a_commit_leaves_no_lock_behind_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with exclusive(tmp_path / "a.onnx"):
        pass

    assert names(tmp_path) == []


def test_another_error_of_linking_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", broken)

    with pytest.raises(FileAccessError, match="Input/output error"):
        write_bytes(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == []
