"""The digest of a trial's code changes with all code that decides its numbers, with no other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from experiments import code
from experiments.cost.trials import ConversionTrial, FileTrial, ServeTrial
from experiments.text.trial import TextTrial
from tests.experiments.toys import Toy


@dataclass(frozen=True, slots=True)
class Measuring(Toy):
    """A toy that measures other code than its own."""

    measures: ClassVar[tuple[str, ...]] = ("benchmarks",)


def test_the_code_that_a_trial_measures_is_in_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = tmp_path / "benchmarks" / "one.py"
    measured.parent.mkdir()
    monkeypatch.setattr(code, "ROOT", tmp_path)
    digests = []
    for text in ("a = 1\n", "a = 2\n"):
        measured.write_text(text)
        digests.append((code.digest(Measuring("a")), code.digest(Toy("a"))))

    assert digests[0][0] != digests[1][0]
    assert digests[0][1] == digests[1][1]


def test_folders_that_trials_measure_are_there() -> None:
    for trial in (FileTrial, ConversionTrial, ServeTrial):
        assert all(any((code.ROOT / name).rglob("*.py")) for name in trial.measures)


def test_what_is_imported_is_followed_through_modules_and_functions(tmp_path: Path) -> None:
    texts = {
        "one.py": "import os\nfrom experiments import two\n",
        "two.py": "def f():\n    from experiments.three.four import g\n    return g\n",
        "three/four.py": "from experiments.one import f\n",
        "five.py": "",
    }
    for name, text in texts.items():
        path = tmp_path / "experiments" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)

    found = code.imported(tmp_path / "experiments" / "one.py", tmp_path)

    assert found == {tmp_path / "experiments" / name for name in texts if name != "five.py"}


def test_an_encoders_trial_hangs_on_the_loop_and_on_constants_and_not_on_the_page() -> None:
    found = code.imported(code.ROOT / "experiments" / "text" / "trial.py", code.ROOT)

    names = {path.relative_to(code.ROOT / "experiments").as_posix() for path in found}
    assert {"training.py", "fixed.py", "states.py", "text/cutting.py", "text/methods.py"} <= names
    assert not any(name.startswith(("evidence/", "images/")) for name in names)
    assert TextTrial.__module__ == "experiments.text.trial"
