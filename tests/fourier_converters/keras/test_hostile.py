"""Files that are broken, something else, or made to harm: refused, and nothing is written."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fourier_format.errors import FileAccessError, FourierFormatError, UnsupportedError
from tests.fourier_converters.keras.setting import (
    HEAD,
    UP,
    dense,
    merge,
    write_archive,
    write_weights,
)

WHOLE = dense({"block/up": UP})
PLACE = "layers/block/up_dense/vars"


def refused(base: Path, match: str, error: type[FourierFormatError] = UnsupportedError) -> None:
    """Check that a base is refused, and that nothing is left beside it."""
    before = sorted(path.name for path in base.parent.iterdir())
    with pytest.raises(error, match=match):
        merge(WHOLE, base)
    assert sorted(path.name for path in base.parent.iterdir()) == before


def _soft(file: h5py.File) -> None:
    del file[f"{PLACE}/0"]
    file[f"{PLACE}/0"] = h5py.SoftLink("/layers/dense/vars/0")


def _external_link(file: h5py.File) -> None:
    del file[f"{PLACE}/0"]
    file[f"{PLACE}/0"] = h5py.ExternalLink("/etc/passwd", "/a")


def _hard(file: h5py.File) -> None:
    file["layers/other"] = file["layers/block"]


def _external_data(file: h5py.File) -> None:
    del file[f"{PLACE}/0"]
    file.create_dataset(f"{PLACE}/0", (6, 8), "<f4", external=[("/etc/passwd", 0, 192)])


def _virtual(file: h5py.File) -> None:
    del file[f"{PLACE}/0"]
    layout = h5py.VirtualLayout((6, 8), "<f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (6, 8))
    file.create_virtual_dataset(f"{PLACE}/0", layout)


def _chunked(file: h5py.File) -> None:
    del file[f"{PLACE}/0"]
    file.create_dataset(f"{PLACE}/0", data=UP, chunks=(3, 4), compression="gzip")


def _big_endian(file: h5py.File) -> None:
    del file[f"{PLACE}/0"]
    file.create_dataset(f"{PLACE}/0", data=UP.astype(">f4"))


def _unwritten(file: h5py.File) -> None:
    """A dataset of a terabyte that the file does not hold."""
    del file[f"{PLACE}/0"]
    file.create_dataset(f"{PLACE}/0", (2**20, 2**18), "<f4")


def _typed(file: h5py.File) -> None:
    file["layers/type"] = np.dtype("<f4")


def _deep(file: h5py.File) -> None:
    file.create_group("/".join("a" * 80))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_soft, "a soft or external link"),
        (_external_link, "a soft or external link"),
        (_hard, "an object with several names"),
        (_external_data, "data outside the file"),
        (_virtual, "data outside the file"),
        (_chunked, "chunked, compressed"),
        (_big_endian, "which nothing can be added to"),
        (_typed, "neither a group nor a dataset"),
        (_deep, "nested too deep"),
    ],
)
def test_hdf5_features_that_keras_does_not_use(
    change: Callable[[h5py.File], None], match: str, tmp_path: Path
) -> None:
    base = write_weights(tmp_path / "m.weights.h5")
    with h5py.File(base, "r+") as file:
        change(file)

    refused(base, match)


def test_datasets_that_overlap(tmp_path: Path) -> None:
    """The address of one dataset's data is forged to be another's."""
    base = write_weights(tmp_path / "m.weights.h5")
    with h5py.File(base) as file:
        one = file["layers/block/up_dense/vars/0"].id.get_offset()
        other = file["layers/block/down_dense/vars/0"].id.get_offset()
    data = base.read_bytes()
    forged = struct.pack("<Q", one)
    assert data.count(struct.pack("<Q", other)) == 1
    base.write_bytes(data.replace(struct.pack("<Q", other), forged))

    refused(base, "overlap")


def test_a_dataset_that_was_never_written_takes_no_memory(tmp_path: Path) -> None:
    base = write_weights(tmp_path / "m.weights.h5")
    with h5py.File(base, "r+") as file:
        _unwritten(file)

    refused(base, "E-TARGET-NOT-FOUND|E-BASE-UNSUPPORTED", FourierFormatError)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"PK\3\4" + bytes(100), b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(999)],
)
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_files_that_are_something_else(data: bytes, name: str, tmp_path: Path) -> None:
    base = tmp_path / name
    base.write_bytes(data)

    refused(base, "E-BASE-UNSUPPORTED")


def test_an_hdf5_file_of_another_program(tmp_path: Path) -> None:
    base = tmp_path / "m.h5"
    with h5py.File(base, "w") as file:
        file["data"] = UP

    refused(base, "no variables where Keras keeps them")


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = write_weights(tmp_path / "whole.h5").read_bytes()
    base = tmp_path / "cut" / "m.weights.h5"
    base.parent.mkdir()

    for length in range(0, len(whole) - 1, len(whole) // 12):
        base.write_bytes(whole[:length])
        refused(base, "E-", FourierFormatError)


def test_a_cut_archive(tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras")
    base.write_bytes(base.read_bytes()[:-40])

    refused(base, "the archive cannot be read")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_a_member_outside_the_archive(name: str, tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras", more={name: b"x"})

    refused(base, "lies outside the archive")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = write_archive(tmp_path / "m.keras", more={"config.json": b"{}"})

    refused(base, "two members of the archive have one name")


def test_a_member_that_expands_without_end(tmp_path: Path) -> None:
    """The size in the directory is forged: such a file is too slow to make."""
    base = write_archive(
        tmp_path / "m.keras", compression=zipfile.ZIP_DEFLATED, more={"assets/a": bytes(1000)}
    )
    data = bytearray(base.read_bytes())
    at = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 2**31)
    base.write_bytes(data)

    refused(base, "expands to 2147483648 bytes")


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_an_archive_without_what_keras_writes(missing: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name in {"config.json", "model.weights.h5", "model.weights.npz"} - {missing}:
            archive.writestr(name, b"{}")

    refused(tmp_path / "m.keras", f"the archive has no {missing}")


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        "text",
        {"config": []},
        {"config": {"layers": [1, None, {"class_name": 3}, {"class_name": "Dense"}]}},
        {"config": {"layers": [{"class_name": "Dense", "config": {"name": 5}}]}},
        {"config": {"layers": [{"class_name": ["Dense"], "config": {"name": "a"}}]}},
        {"config": {"layer": {"class_name": {}, "config": {"name": "a"}}}},
    ],
)
def test_a_config_of_another_form_says_nothing(config: object, tmp_path: Path) -> None:
    merged, _ = merge(WHOLE, write_archive(tmp_path / "m.keras", config=config))

    assert np.array_equal(merged["layers/dense/vars/0"], HEAD)


def test_a_directory(tmp_path: Path) -> None:
    base = tmp_path / "preset"
    base.mkdir()

    refused(base, "give the .keras or .weights.h5 file in it")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "m.keras", "E-IO", FileAccessError)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_keras_does_not_use(compression: int, tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "model.keras")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(tmp_path / "b.keras", "w") as other:
        for member in archive.infolist():
            other.writestr(member.filename, archive.read(member), compression)
    whole.unlink()

    refused(tmp_path / "b.keras", "compressed in a way that Keras does not use")


def test_one_bit_of_stored_weights_that_has_flipped(tmp_path: Path) -> None:
    """Keras would refuse the base; the result would have a checksum of its own."""
    base = write_archive(tmp_path / "model.keras")
    data = bytearray(base.read_bytes())
    place = data.find(HEAD.tobytes())
    assert place > 0
    data[place] ^= 1
    base.write_bytes(data)

    refused(base, "checksum of model.weights.h5 is another: the file is damaged")


def test_a_base_that_was_saved_with_an_adapter(tmp_path: Path) -> None:
    """It would be added once more."""
    base = write_weights(tmp_path / "model.weights.h5")
    with h5py.File(base, "a") as file:
        group = file.create_group("layers/block/up_dense/fourier/vars")
        group["0"] = np.zeros(4, np.float32)
        group["meaning"] = np.zeros(32, np.uint8)

    refused(base, "saved with an adapter attached.*give the plain base")
