"""The vectors in the repository are the ones that tools/make_vectors.py writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py

from tests.conformance import vectors

MADE_WITH = "2.0.0"
"""The libhdf5 whose bytes are in the repository; another may lay its files out in another way."""


def contents(directory: Path) -> dict[str, bytes]:
    """Returns every generated file but the index by its path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.glob("*/*"))
        if path.is_file()
    }


def test_regeneration_gives_no_difference(tmp_path: Path) -> None:
    command = [sys.executable, str(vectors.ROOT / "tools" / "make_vectors.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    same_library = h5py.version.hdf5_version == MADE_WITH
    made, kept = contents(tmp_path), contents(vectors.DIRECTORY)

    assert made.keys() == kept.keys()
    different = {path for path in made if made[path] != kept[path]}
    assert {path for path in different if same_library or not path.endswith(".h5")} == set()
    index = [
        json.loads((d / "index.json").read_text("utf-8")) for d in (tmp_path, vectors.DIRECTORY)
    ]
    assert not same_library or index[0] == index[1]


def test_no_file_lies_among_the_vectors_that_the_index_does_not_list() -> None:
    listed = {path for vector in vectors.index() for path in vector.row["files"]}

    assert set(contents(vectors.DIRECTORY)) == listed
