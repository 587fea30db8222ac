"""A .fft that goes to HDF5 and back is the same to the byte, whoever wrote it (clause 4.4)."""

from pathlib import Path

import pytest

from fourier_format.files import transcode

VALID = sorted((Path(__file__).parents[2] / "spec" / "vectors" / "valid").glob("*.fft"))


@pytest.mark.parametrize("vector", VALID, ids=lambda path: path.stem)
def test_hdf5_and_back_gives_the_same_bytes(vector: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.fft.h5", tmp_path / "back.fft"

    transcode(vector, there, "h5")
    transcode(there, back, "fft")

    assert back.read_bytes() == vector.read_bytes()


def test_there_are_vectors() -> None:
    assert len(VALID) > 30
