"""Fixtures: every case has one folder, shared by all tests and by all pytest-xdist workers."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import pytest
import torch

from tests.real.cases import EVERY_CASE
from tests.real.workspace import Workspace, WorkspaceOf


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Workers share few cores; torch's own threads would only fight over them."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def workspace_of(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> WorkspaceOf:
    """Return the workspace of a case by its name."""
    own = tmp_path_factory.getbasetemp()
    root: Path = (own if worker_id == "master" else own.parent) / "real"
    return lambda name: Workspace(EVERY_CASE[name], root / name)
