"""External data that points where it should not: nothing outside the model's folder is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.attacks.attack import Attack, linear
from tests.fourier_converters.graphs import save as save_model

ESCAPES = [
    "../secret.data",
    "sub/../../secret.data",
    "sub/..",
    "./../secret.data",
    "..",
    "..\\secret.data",
    "sub\\secret.data",
    "C:\\secret.data",
    "\\\\host\\share\\secret.data",
    "base.onnx.data\0",
    "\0",
    "/etc/passwd",
    "//etc/passwd",
    "/dev/zero",
    "/proc/self/environ",
]
KEYS = [
    "__class__",
    "__dict__",
    "__init__",
    "basepath\0",
    "Location",
    "LOCATION",
    "location ",
    "",
    "mode",
    "path",
    "\u202eoffset",
    "x" * 5000,
]
"""What CVE-2026-34445 set on onnx's ExternalDataInfo: any attribute of any name."""


def change(attack: Attack, **fields: str) -> None:
    """Change fields of the external data of `w`."""
    made = onnx.load(attack.base, load_external_data=False)
    (tensor,) = made.graph.initializer
    for entry in tensor.external_data:
        entry.value = fields.pop(entry.key, entry.value)
    for key, value in fields.items():
        add(tensor, key, value)
    save_model(made, attack.base)


def add(tensor: Any, key: str, value: str) -> None:
    entry = tensor.external_data.add()
    entry.key, entry.value = key, value


class TestPaths:
    @pytest.mark.parametrize("location", ESCAPES)
    def test_what_leaves_the_folder_is_refused(self, location: str, attack: Attack) -> None:
        attack.external()
        (attack.folder / "sub").mkdir()
        change(attack, location=location)

        error = attack.refuse(exit_code=1)

        assert "its external data leaves the model's directory" in error

    @pytest.mark.parametrize("location", ["C:secret.data", "file:///etc/passwd", "~/secret.data"])
    def test_what_means_something_elsewhere_is_a_name_that_is_not_there(
        self, location: str, attack: Attack
    ) -> None:
        attack.external()
        change(attack, location=location)

        assert "No such file" in attack.refuse(exit_code=2)

    @pytest.mark.parametrize("location", [".", "./", "sub", "sub/."])
    def test_a_directory_is_no_data(self, location: str, attack: Attack) -> None:
        attack.external()
        (attack.folder / "sub").mkdir()
        change(attack, location=location)

        attack.refuse()

    def test_a_name_of_many_characters_is_refused_in_a_short_line(self, attack: Attack) -> None:
        attack.external()
        change(attack, location="x" * 10_000)

        assert "a location of 10000 characters" in attack.refuse(exit_code=1)

    def test_control_characters_cannot_forge_output(self, attack: Attack) -> None:
        attack.external()
        change(attack, location="\x1b[2J\r\nfourier-convert: wrote all.onnx\u202e")

        assert "\\x1b[2J\\r\\n" in attack.refuse()

    def test_a_location_that_is_no_text_is_refused(self, attack: Attack) -> None:
        """protobuf's reader checks UTF-8, so such a file is no ONNX model."""
        attack.external()
        content = attack.base.read_bytes()
        attack.base.write_bytes(content.replace(b"base.onnx.data", b"base.onnx.d\xff\xfea"))

        attack.refuse(exit_code=1)


class TestNumbers:
    @pytest.mark.parametrize("key", ["offset", "length"])
    @pytest.mark.parametrize(
        "value",
        [
            *("-1", "-0", "+1", "1e3", "0x10", "1_000", " 1", "1 ", "1.0", "nan", "inf", "True"),
            *("9" * 20, "9" * 5000, str(2**64), "\u0661", "\u00b2", "\uff11", "1\0", "1\n"),
        ],
    )
    def test_what_is_not_a_plain_number_is_refused(
        self, key: str, value: str, attack: Attack
    ) -> None:
        attack.external()
        change(attack, **{key: value})

        assert "external offset or length is not a number" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("offset", [1, 6143, 6144, 2**31, 2**32, 2**63 - 1, 2**63 - 6144])
    def test_an_offset_outside_the_file_is_refused(self, offset: int, attack: Attack) -> None:
        attack.external()
        change(attack, offset=str(offset))

        assert "lies outside the file" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("length", [1, 6143, 6145, 2**31, 2**63 - 1])
    def test_a_length_that_is_not_the_shape_is_refused(self, length: int, attack: Attack) -> None:
        attack.external()
        change(attack, length=str(length))

        assert "its shape needs 6144 bytes" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("size", [1, 4095, 4096, 6143])
    def test_a_file_that_was_cut_is_refused(self, size: int, attack: Attack) -> None:
        attack.external()
        os.truncate(attack.data, size)

        assert "is the file whole?" in attack.refuse(exit_code=1)


class TestFields:
    @pytest.mark.parametrize("key", KEYS)
    def test_an_unknown_key_is_refused(self, key: str, attack: Attack) -> None:
        attack.external()
        change(attack, **{key: "object"})

        assert "unknown or repeated fields" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("key", ["location", "offset", "length"])
    def test_a_repeated_key_is_refused(self, key: str, attack: Attack) -> None:
        """Readers take the first or the last: what is checked would not be what is read."""
        attack.external()
        made = onnx.load(attack.base, load_external_data=False)
        add(made.graph.initializer[0], key, "../secret.data" if key == "location" else "0")
        save_model(made, attack.base)

        assert "unknown or repeated fields" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("value", ["/", "..", "/etc"])
    def test_a_base_path_moves_nothing(self, value: str, attack: Attack) -> None:
        """onnx's helper writes the key `basepath`; no reader may follow it."""
        attack.external()
        change(attack, basepath=value)

        assert attack.bear() is None

    @pytest.mark.parametrize("place", [0, 1])
    def test_fields_without_external_data_are_not_followed(
        self, place: int, attack: Attack
    ) -> None:
        made = linear()
        tensor = made.graph.initializer[0]
        tensor.data_location = place
        add(tensor, "location", "../secret.data")
        attack.inline(made)

        error = attack.bear()

        assert (error is None) == (place == 0)


class TestOverlaps:
    @pytest.mark.parametrize("offset", ["0", "4", "6140"])
    def test_tensors_that_share_a_part_are_refused(self, offset: str, attack: Attack) -> None:
        """The merge would write one and so change the other."""
        attack.external(linear({"other": np.zeros((16, 32), np.float32)}))
        _point_other(attack, offset)

        assert "its external data overlaps that of" in attack.refuse_merges()

    def test_tensors_that_share_all_are_sound(self, attack: Attack) -> None:
        attack.external(linear({"other": np.zeros((32, 48), np.float32)}))
        _point_other(attack, "0")

        assert attack.bear() is None


def _point_other(attack: Attack, offset: str) -> None:
    made = onnx.load(attack.base, load_external_data=False)
    (other,) = [t for t in made.graph.initializer if t.name == "other"]
    for entry in other.external_data:
        entry.value = offset if entry.key == "offset" else entry.value
    save_model(made, attack.base)


def test_a_tensor_that_nobody_reads_is_held_to_the_same_rules(
    attack: Attack, tmp_path: Path
) -> None:
    """The result would carry its bytes: of another's file, if that could be named."""
    attack.external(linear({"unread": np.zeros(8, np.float32)}))
    made = onnx.load(attack.base, load_external_data=False)
    (unread,) = [t for t in made.graph.initializer if t.name == "unread"]
    unread.external_data[0].value = "../secret.data"
    save_model(made, attack.base)

    assert "leaves the model's directory" in attack.refuse_merges()
