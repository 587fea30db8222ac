"""The digest of a trial's code changes with all modules that its own imports, with no others.

Nor does it change with what of a module is no code.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import code, preloaded
from experiments.cost.trials import ServeTrial
from experiments.images.trial import PretextTrial
from experiments.text.trial import TextTrial
from experiments.trial import Trial

_TEXTS = {
    "experiments/one.py": "import os\nfrom experiments import two\n",
    "experiments/two.py": "def f():\n    from fourier_format.three.four import g\n    return g\n",
    "fourier_format/__init__.py": "from fourier_format.six import h\n",
    "fourier_format/six.py": "import fourier_trainers.seven\n",
    "fourier_format/three/__init__.py": "",
    "fourier_format/three/four.py": "from experiments.one import f\n",
    "trainers/fourier_trainers/seven.py": "import eight\n",
    "benchmarks/eight.py": "from numpy import array\n",
}
_OTHERS = {
    "experiments/five.py": "",
    "fourier_format/nine.py": "",
    "trainers/fourier_trainers/keras/__init__.py": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (_TEXTS | _OTHERS).items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(root: Path) -> str:
    """Returns that of one.py, as a new process would."""
    code.of.cache_clear()
    code.read.cache_clear()
    return code.of(str(root / "experiments" / "one.py"), root=root)


def test_imports_are_followed_through_packages_and_functions(root: Path) -> None:
    found = code.imported(root / "experiments" / "one.py", root=root)

    assert found == {root / name for name in _TEXTS}


@pytest.mark.parametrize("name", _TEXTS)
def test_a_digest_changes_with_any_module_that_is_imported(name: str, root: Path) -> None:
    before = digest(root)
    (root / name).write_text(_TEXTS[name] + "a = 1\n")

    assert digest(root) != before


@pytest.mark.parametrize("name", _OTHERS)
def test_a_digest_does_not_change_with_other_modules(name: str, root: Path) -> None:
    before = digest(root)
    (root / name).write_text("a = 1\n")

    assert digest(root) == before


def test_comments_docstrings_and_layout_are_no_code(root: Path) -> None:
    two = root / "experiments" / "two.py"
    text = '"""One."""\nA = 1\n"""Another."""\n\n\ndef f():\n    """A third."""\n    return A\n'
    bare = "A = 1  # why\ndef f():\n    return (A)\n"
    digests = []
    for each in (text, bare, bare.replace("1", "2")):
        two.write_text(each)
        digests.append(digest(root))

    assert digests[0] == digests[1]
    assert digests[1] != digests[2]


def test_a_module_counts_as_it_was_when_it_was_first_read(root: Path) -> None:
    one = str(root / "experiments" / "one.py")
    before = digest(root)
    (root / "experiments" / "two.py").write_text("")

    code.of.cache_clear()
    assert code.of(one, root=root) == before


def test_the_code_of_all_trials_is_read_where_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    importlib.reload(preloaded)
    code.of.cache_clear()

    def fails(path: Path) -> bytes:
        raise OSError(path)

    monkeypatch.setattr(Path, "read_bytes", fails)
    for trial in (TextTrial, PretextTrial, ServeTrial):
        code.of(inspect.getfile(trial))


def test_a_relative_import_is_refused_as_it_would_not_be_followed(root: Path) -> None:
    (root / "experiments" / "two.py").write_text("from . import five\n")

    with pytest.raises(ValueError, match="a relative import"):
        digest(root)


def names(trial: type[Trial]) -> set[str]:
    path = code.ROOT.joinpath(*trial.__module__.split(".")).with_suffix(".py")
    return {found.relative_to(code.ROOT).as_posix() for found in code.imported(path)}


def test_an_encoders_trial_hangs_on_all_that_trains_and_serves_it() -> None:
    found = names(TextTrial)

    ours = ("training", "fixed", "states", "text/cutting", "text/controls")
    assert {f"experiments/{name}.py" for name in ours} <= found
    assert "fourier_format/transforms/dft2.py" in found
    assert "trainers/fourier_trainers/torch/spectral/axes.py" in found
    assert "converters/fourier_converters/onnx/merging.py" in found


@pytest.mark.parametrize("trial", [TextTrial, PretextTrial, ServeTrial])
def test_no_trial_hangs_on_the_page_the_runner_or_another_framework(trial: type[Trial]) -> None:
    others = ("experiments/evidence/", "experiments/run", "experiments/records", "benchmarks/keras")

    found = names(trial)

    assert not [name for name in found if name.startswith(others) or "/keras/" in name]


def test_what_is_measured_is_in_the_digest_of_what_measures_it() -> None:
    found = names(ServeTrial)

    assert {"benchmarks/serve_arms.py", "runtimes/fourier_runtimes/session.py"} <= found
    assert "experiments/cost/serving.py" in found


def test_a_digest_takes_less_than_a_second() -> None:
    asked = "code.of(str(code.ROOT / 'experiments' / 'text' / 'trial.py'))"
    timed = f"import time; from experiments import code; {asked}; print(time.process_time())"
    ran = subprocess.run(
        [sys.executable, "-c", timed], cwd=code.ROOT, check=True, capture_output=True, text=True
    )

    assert float(ran.stdout) < 1
