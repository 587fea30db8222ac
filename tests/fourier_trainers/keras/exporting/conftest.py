"""Fixtures: each backend exports once, for all tests and all pytest-xdist workers."""

from pathlib import Path

import pytest

from tests.fourier_trainers.keras.exporting.exports import (
    ExportedOf,
    RefusalsOf,
    TrainedOf,
    exported,
    refusals,
    trained,
)


@pytest.fixture(scope="session")
def exports_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of what is made once for all workers."""
    own = tmp_path_factory.getbasetemp()
    root: Path = (own if worker_id == "master" else own.parent) / "keras-exports"
    return root


@pytest.fixture(scope="session")
def exported_of(exports_folder: Path) -> ExportedOf:
    """Return an exported model by backend and name."""
    return lambda backend, name: exported(exports_folder, backend, name)


@pytest.fixture(scope="session")
def refusals_of(exports_folder: Path) -> RefusalsOf:
    """Return all refusals of a backend."""
    return lambda backend: refusals(exports_folder, backend)


@pytest.fixture(scope="session")
def trained_of(exports_folder: Path) -> TrainedOf:
    """Return the folder of what was trained by backend and name."""
    return lambda backend, name: trained(exports_folder, backend, name)
