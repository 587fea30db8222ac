"""Every experiment runs in miniature, from its data to its results; `make evidence-smoke`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.evidence.evidence import Evidence
from experiments.evidence.sections import sections
from experiments.records import read
from tests.experiments import made

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Returns the folder of the real data sets; where they are absent, one of made-up rows."""
    if DATA.is_dir():
        return DATA
    made.write(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_in_miniature(name: str, data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments", name, "--size", "smoke", "--jobs", "1"]
    folders = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [*command, *folders, "--data", str(data)],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    records = read(tmp_path / "results" / "smoke" / f"{name}.json")
    assert records
    assert all(record.result and record.seconds > 0 for record in records)
    section = next(found for found in sections() if found.name == name)
    assert section.render(Evidence("smoke", {name: tuple(records)}))
