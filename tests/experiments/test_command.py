"""The command line refuses what means nothing before anything runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import command
from experiments.code import ROOT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "there is no nosuch; there are glue, "),
        (["glue", "--jobs", "0"], "--jobs: got 0, expected 1 or more"),
        (["glue", "--again", "mrpc", "--dry-run"], "give one of them"),
        (["glue", "--only", "mrpc", "--only", "nosuch"], "--only: no trial's label holds nosuch"),
        (["glue", "--device", "cuda"], "torch sees no CUDA device"),
    ],
)
def test_what_means_nothing_is_refused(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    places = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["experiments", *arguments, *places])

    with pytest.raises(SystemExit) as caught:
        command.main()

    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_without_torch_it_says_which_environment_has_it(tmp_path: Path) -> None:
    """An import that finds no torch, as in the environment of `make demo`."""
    hiding = "import sys, importlib.util as u; f = u.find_spec; "
    hiding += "u.find_spec = lambda name, *more: None if name == 'torch' else f(name, *more); "
    hiding += "import runpy; runpy.run_module('experiments', run_name='__main__')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", hiding], capture_output=True, text=True, env=environment,
        cwd=tmp_path, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ".venv-test/bin/python -m experiments" in done.stderr
