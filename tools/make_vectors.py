"""Write the conformance vectors anew: python tools/make_vectors.py [DIR], default spec/vectors."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from vectors import (
    fingerprint,
    forward,
    hdf5,
    invalid_container,
    invalid_manifest,
    kinds,
    model,
    numeric,
    sampling,
    valid,
)

DEFAULT: Final = Path(__file__).resolve().parents[1] / "spec" / "vectors"
SOURCES: Final = (
    valid,
    invalid_container,
    invalid_manifest,
    forward,
    hdf5,
    numeric,
    sampling,
    kinds,
    fingerprint,
)


def main(directory: Path) -> None:
    """Write every vector and the index under `directory`; the README there stays."""
    vectors = [vector for source in SOURCES for vector in source.vectors()]
    for kind in {vector.kind for vector in vectors}:
        shutil.rmtree(directory / kind, ignore_errors=True)
    count, size = model.write(vectors, directory)
    print(f"{count} vectors, {size} bytes in {directory}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
