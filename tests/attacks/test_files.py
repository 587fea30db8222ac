"""Data files that are not what they seem: links, second names, pipes, devices, moving targets."""

from __future__ import annotations

import os
import signal

import pytest

from tests.attacks.attack import Attack
from tests.fourier_converters.processes import end, go_on, start_and_stop_at
from tests.fourier_converters.processes import run as run_process


class TestLinks:
    @pytest.mark.parametrize(
        "goal", ["../secret.data", "/proc/self/environ", "/dev/zero", "/etc/passwd", ".."]
    )
    def test_a_link_that_leaves_the_folder_is_refused(self, goal: str, attack: Attack) -> None:
        attack.external()
        attack.data.unlink()
        attack.data.symlink_to(goal)

        assert "is a link that leaves the model's directory" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("location", ["sub/secret.data", "sub/base/base.onnx.data"])
    def test_a_folder_that_is_a_link_is_followed_and_its_goal_is_asked(
        self, location: str, attack: Attack
    ) -> None:
        attack.external()
        (attack.folder / "sub").symlink_to("..")
        attack.relocate(location)

        error = attack.bear()

        assert (error is None) == location.startswith("sub/base")

    @pytest.mark.parametrize("location", ["/proc/self/environ", "/proc/self/fd/0", "/dev/zero"])
    def test_a_folder_of_the_system_is_refused(self, location: str, attack: Attack) -> None:
        attack.external()
        top, rest = location.split("/", 2)[1:]
        (attack.folder / "sys").symlink_to(f"/{top}")
        attack.relocate(f"sys/{rest}")

        assert "is a link that leaves" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("goal", ["nowhere", "base.onnx.data", "sub/loop"])
    def test_a_link_to_nothing_or_to_itself_is_trouble_with_files(
        self, goal: str, attack: Attack
    ) -> None:
        attack.external()
        attack.data.unlink()
        attack.data.symlink_to(goal)
        (attack.folder / "sub").mkdir()
        (attack.folder / "sub" / "loop").symlink_to("../base.onnx.data")

        assert "cannot read the file" in attack.refuse(exit_code=2)

    def test_a_second_name_is_refused(self, attack: Attack) -> None:
        """CVE-2026-34446: a hard link to another's file looks like a plain file."""
        attack.external()
        attack.data.unlink()
        os.link(attack.around / "secret.data", attack.data)

        assert "has a second name (a hard link)" in attack.refuse(exit_code=1)


class TestKindsOfFiles:
    def test_a_pipe_is_refused_and_not_waited_for(self, attack: Attack) -> None:
        attack.external()
        attack.data.unlink()
        os.mkfifo(attack.data)

        assert "is not a regular file" in attack.refuse(exit_code=1)

    def test_a_pipe_as_base_is_refused_and_not_waited_for(self, attack: Attack) -> None:
        os.mkfifo(attack.base)

        assert "is not a regular file" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("goal", ["/dev/zero", "/dev/null", "/dev", "/proc/self/mem"])
    def test_a_device_as_base_is_refused(self, goal: str, attack: Attack) -> None:
        attack.base.symlink_to(goal)

        attack.refuse()

    def test_an_empty_file_is_too_short(self, attack: Attack) -> None:
        attack.external()
        attack.data.write_bytes(b"")

        assert "lies outside the file" in attack.refuse(exit_code=1)


class TestAFileThatShrinks:
    """Whoever may write to the base's folder can stop a conversion, and no more."""

    def test_while_it_is_copied_is_an_error(self, attack: Attack) -> None:
        attack.external()
        process = start_and_stop_at("copy_file_range", *attack.arguments(), at_once=True)
        os.truncate(attack.data, 5000)

        go_on(process, signal.SIGCONT)

        code, _, error = end(process)
        assert code == 2, error
        assert "the base's data changed or could not be read while it was copied" in error
        assert list(attack.outputs.iterdir()) == []

    def test_while_it_is_mapped_leaves_no_model(self, attack: Attack) -> None:
        """Reading beyond a file's end through a map is SIGBUS, which no Python code can catch."""
        attack.external()
        whole = attack.data.read_bytes()
        process = start_and_stop_at("fsync", *attack.arguments())
        os.truncate(attack.data, 0)

        go_on(process, signal.SIGCONT)

        code, _, error = end(process)
        assert code in {-signal.SIGBUS, 1, 2}, error
        assert not attack.output.exists()
        attack.data.write_bytes(whole)
        assert run_process(*attack.arguments()).returncode == 0
        assert len(list(attack.outputs.iterdir())) == 2  # the next run has tidied up
