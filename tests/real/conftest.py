"""Fixtures: every case has one folder, shared by all tests and by all pytest-xdist workers."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import pytest
import torch

from tests.real.cases import EVERY_CASE
from tests.real.keras_graphs import KerasGraphOf, exported
from tests.real.keras_saved import SavedOf, saved_and_merged
from tests.real.torch_graphs import TorchGraphOf, torch_graph
from tests.real.workspace import Workspace, WorkspaceOf


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Workers share few cores; torch's own threads would only fight over them."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of what is made once for all workers."""
    own = tmp_path_factory.getbasetemp()
    root: Path = (own if worker_id == "master" else own.parent) / "real"
    return root


@pytest.fixture(scope="session")
def workspace_of(shared_folder: Path) -> WorkspaceOf:
    """Return the workspace of a case by its name."""
    return lambda name: Workspace(EVERY_CASE[name], shared_folder / name)


@pytest.fixture(scope="session")
def keras_graph_of(shared_folder: Path) -> KerasGraphOf:
    """Return a Keras model's graph by backend and name."""
    return lambda backend, name: exported(shared_folder / "keras", backend, name)


@pytest.fixture(scope="session")
def keras_saved_of(shared_folder: Path) -> SavedOf:
    """Return what Keras saved of a model, and what was merged of that."""
    return lambda name: saved_and_merged(shared_folder / "keras_saved", name)


@pytest.fixture(scope="session")
def torch_graph_of(shared_folder: Path) -> TorchGraphOf:
    """Return a small torch module's graph by the sample's name."""
    return lambda name: torch_graph(shared_folder / "torch", name)
