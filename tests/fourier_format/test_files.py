"""Load and save: the content decides what a file is, and nothing is overwritten unasked."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import fourier_format
from fourier_format import files
from fourier_format.containers import hdf5
from fourier_format.containers import safetensors as safetensors_container
from fourier_format.document import Document
from fourier_format.errors import FileAccessError, InvalidAdapterError, OutputExistsError
from tests.fourier_format import minimal, samples
from tests.fourier_format.equality import assert_same


@pytest.mark.parametrize(
    ("name", "is_hdf5"),
    [
        ("a.fft", False),
        ("a", False),
        ("a.safetensors", False),
        ("a.fft.h5", True),
        ("a.H5", True),
        ("a.hdf5", True),
    ],
)
def test_the_name_decides_what_is_written_and_the_content_what_is_read(
    tmp_path: Path, name: str, is_hdf5: bool
) -> None:
    path, renamed = tmp_path / name, tmp_path / "renamed.anything"

    fourier_format.save(samples.adapter(), str(path))
    path.rename(renamed)

    assert renamed.read_bytes().startswith(hdf5.MAGIC) is is_hdf5
    assert_same(fourier_format.load(str(renamed)), samples.adapter())


@pytest.mark.parametrize("container", ["fft", "h5"])
def test_a_file_under_the_other_containers_name_is_read_all_the_same(
    tmp_path: Path, container: files.Container
) -> None:
    path = tmp_path / ("a.fft.h5" if container == "fft" else "a.fft")
    path.write_bytes(fourier_format.to_bytes(samples.adapter(), container))

    assert_same(fourier_format.load(path), samples.adapter())


def test_a_foreign_writers_file_goes_to_the_other_container_and_back_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    document = minimal.document()
    spaced = json.dumps(json.loads(document.manifest), indent=2)
    foreign, h5, back = (tmp_path / name for name in ("a.fft", "a.h5", "b.fft"))
    foreign.write_bytes(safetensors_container.encode(Document(spaced, document.tensors)))

    files.transcode(foreign, h5, "h5")
    files.transcode(h5, back, "fft")

    assert h5.read_bytes().startswith(hdf5.MAGIC)
    assert back.read_bytes() == foreign.read_bytes()


def test_an_adapter_that_breaks_a_rule_does_not_go_to_the_other_container(tmp_path: Path) -> None:
    source = tmp_path / "a.fft"
    source.write_bytes(minimal.fft(minimal.set_in("targets.0.row", 1)))

    with pytest.raises(InvalidAdapterError):
        files.transcode(source, tmp_path / "a.h5", "h5")

    assert [path.name for path in tmp_path.iterdir()] == ["a.fft"]


def test_an_existing_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.fft"
    path.write_text("precious")

    with pytest.raises(OutputExistsError, match="exists") as caught:
        fourier_format.save(minimal.adapter(), path)

    assert caught.value.code == "E-OUTPUT-EXISTS"
    assert path.read_text() == "precious"


def test_an_existing_file_is_overwritten_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.fft"
    path.write_text("old")

    fourier_format.save(minimal.adapter(), path, overwrite=True)

    assert_same(fourier_format.load(path), minimal.adapter())
    assert [file.name for file in tmp_path.iterdir()] == ["a.fft"]


def test_an_adapter_that_breaks_a_rule_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.fft"
    path.write_text("old")

    with pytest.raises(InvalidAdapterError):
        fourier_format.save(samples.changed(minimal.adapter(), seed=-1), path, overwrite=True)

    assert path.read_text() == "old"


def test_a_file_that_is_not_there_is_a_file_access_error(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="No such file") as caught:
        fourier_format.load(tmp_path / "missing.fft")

    assert caught.value.code == "E-IO"
    assert isinstance(caught.value, OSError)


def test_a_directory_is_a_file_access_error(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="directory"):
        fourier_format.load(tmp_path)
    with pytest.raises(FileAccessError, match="directory"):
        fourier_format.save(minimal.adapter(), tmp_path, overwrite=True)


@pytest.mark.parametrize("name", ["missing/a.fft", "x" * 300, "x" * 250])
def test_a_place_that_cannot_be_written_is_a_file_access_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileAccessError) as caught:
        fourier_format.save(minimal.adapter(), tmp_path / name)

    assert caught.value.code == "E-IO"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "/"])
def test_a_path_without_a_file_name_is_a_file_access_error(path: str) -> None:
    with pytest.raises(FileAccessError):
        fourier_format.save(minimal.adapter(), path, overwrite=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"PK\3\4" + b"\0" * 100, b"GGUF" + b"\0" * 100, b"{}" * 50, hdf5.MAGIC, b"\n" * 9],
)
def test_a_file_that_is_something_else_is_refused_with_its_name(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.fft"
    path.write_bytes(content)

    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.load(path)

    assert str(path) in str(caught.value)


def test_a_large_safetensors_file_that_is_no_adapter_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(8_000_000, np.float32)}))

    tracemalloc.start()
    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.code == "E-NOT-FOURIER-FORMAT"
    assert peak < 1_000_000


@pytest.mark.parametrize("length", [2**27, 2**42, 2**64 - 1])
def test_a_large_file_whose_header_claims_more_than_allowed_is_not_read(
    tmp_path: Path, length: int
) -> None:
    path = tmp_path / "model.bin"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(2**28)

    tracemalloc.start()
    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.code == "E-CONTAINER-HEADER"
    assert peak < 1_000_000


@pytest.mark.parametrize("places", [1, 2])  # the key of the manifest, and that of the digest too
def test_a_manifest_spelled_with_escapes_is_refused_and_not_taken_for_another_file(
    tmp_path: Path, places: int
) -> None:
    data = minimal.fft()
    end = 8 + int.from_bytes(data[:8], "little")
    header = data[8:end].rstrip(b" ").replace(b"fourier_format", b"fourier\\u005fformat", places)
    header += b" " * (-len(header) % 8)
    data = struct.pack("<Q", len(header)) + header + data[end:]
    path = tmp_path / "a.fft"
    path.write_bytes(data)

    with pytest.raises(InvalidAdapterError) as from_bytes:
        fourier_format.from_bytes(data)
    with pytest.raises(InvalidAdapterError) as loaded:
        fourier_format.load(path)

    assert from_bytes.value.code == loaded.value.code == "E-CONTAINER-CANONICAL"


def test_bytes_are_named_in_errors_as_the_caller_says() -> None:
    with pytest.raises(InvalidAdapterError, match="request body"):
        fourier_format.from_bytes(b"", "request body")
