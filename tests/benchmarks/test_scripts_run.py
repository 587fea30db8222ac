"""Every benchmark runs and prints what its README says; how fast is not asked here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fourier_runtimes.costs import UNITS
from tests.tolerances import ONNX_OUTPUT_F32

_FOLDER = Path(__file__).parents[2] / "benchmarks"
_ROW = re.compile(r"^\| `(\w+)\.py` \|.*\|([^|]*)\|$", re.MULTILINE)
_ROOT = _FOLDER.parent


def _keys() -> dict[str, set[str]]:
    """Returns the keys that the README's table promises, by script."""
    text = (_FOLDER / "README.md").read_text("utf-8")
    return {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in _ROW.findall(text)}


def _run(name: str, *options: str) -> dict[str, Any]:
    roots = (_ROOT, _ROOT / "converters", _ROOT / "trainers", _ROOT / "runtimes")
    paths = [*map(str, roots), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(_FOLDER / f"{name}.py"), *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["benchmark"] == name
    assert set(report) >= _keys()[name] | {"environment"}
    return report


def test_every_script_is_in_the_readme() -> None:
    scripts = {
        path.stem for path in _FOLDER.glob("*.py") if "\n    finish(" in path.read_text("utf-8")
    }

    assert scripts == set(_keys())


def test_file_size() -> None:
    report = _run("file_size", "--layers", "2", "--width", "64", "--n", "20")

    assert report["layout"]["targets"] == 4


@pytest.mark.slow
def test_import_time() -> None:
    report = _run("import_time", "--runs", "1", "--no-peers")

    assert report["empty"]["seconds"]["runs"] == 1


@pytest.mark.slow
def test_entry_draw() -> None:
    report = _run("entry_draw", "--runs", "1", "--shape", "24x16", "--n", "30")

    assert report["shapes"]["24x16"]["equal"]


@pytest.mark.slow
def test_delta_weight() -> None:
    report = _run("delta_weight", "--runs", "1", "--calls", "1", "--case", "24x16:30")

    case = report["cases"]["24x16:30"]
    assert case["ours"]["relative_error"] < 1e-6
    assert case["peer"]["relative_error"] < 1e-6


@pytest.mark.slow
def test_conversion() -> None:
    report = _run("conversion", "--runs", "1", "--tiny", "--n", "50")

    checked = [entry for entry in report["difference"].values() if isinstance(entry, dict)]
    assert len(checked) == 4
    assert all(entry["aim_met"] for entry in checked)


@pytest.mark.slow
def test_many_adapters() -> None:
    options = ("--adapters", "200", "--runs", "1", "--requests", "5", "--n", "50")

    report = _run("many_adapters", "--tiny", *options)

    assert report["adapters"] == 200
    assert report["request"]["cold"]["ms"]["runs"] == 5


@pytest.mark.slow
def test_large_base() -> None:
    sizes = {"layers": 2, "width": 128, "vocabulary": 200, "shards": 2, "n": 50}
    options = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]

    report = _run("large_base", "--runs", "1", *options)

    assert report["layout"]["data_bytes"] > 2 * 200 * 128 * 2
    assert report["aims"]["copy_peak_mib"]["aim_met"]


@pytest.mark.slow
def test_graph_kinds() -> None:
    report = _run("graph_kinds", "--runs", "1", "--tiny", "--n", "50")

    assert set(report["process"]) == set(report["function"])
    assert set(report["difference"]) < set(report["process"])
    float32 = ("dynamo", "torchscript", "fused", "saved")
    assert all(report["difference"][kind]["merged"] < 1e-5 for kind in float32)


@pytest.mark.slow
@pytest.mark.parametrize("models", ["transformers", "plain"])
def test_train_step(models: str) -> None:
    case, peers = {"transformers": ("minilm", ["peft"]), "plain": ("llama_4096", [])}[models]
    options = ("--models", models, "--cases", case, "--runs", "1", "--n", "50", "--smoke")

    report = _run("train_step", *options)

    ours = ["ours"] if (_ROOT / "trainers" / "fourier_trainers").is_dir() else []
    assert set(report["skipped"]) == {"peft", "ours"} - {*peers, *ours}
    arms = report["cases"][case]["arms"]
    assert list(arms) == ["base", "lora", *peers, *ours]
    assert arms["base"]["trained_parameters"] == 0
    assert all(arms[arm]["trained_parameters"] == 2 * 50 for arm in (*peers, *ours))
    assert all(arm["memory"]["peak_mib"]["median"] > 0 for arm in arms.values())


@pytest.mark.slow
def test_forms() -> None:
    report = _run("forms", "--smoke", "--runs", "1")

    assert set(report["forms"]) == set(UNITS)
    assert set(report["layers"]["48, 2 x 4"]) == {"base", "inputs", "dense", "factored", "spectral"}
    assert all(ns >= 0 for of in report["forms"].values() for ns in of.values())


@pytest.mark.slow
def test_keras_step() -> None:
    options = ("--keras", "tensorflow", "--modes", "jit", "--keras-cases", "minilm")

    report = _run("keras_step", *options, "--runs", "1", "--n", "50", "--smoke")

    arms = report["keras"]["tensorflow jit minilm"]["arms"]
    assert list(arms) == ["base", "lora", "ours"]
    assert arms["ours"]["trained_parameters"] == 2 * 50
    assert arms["lora"]["trained_parameters"] > 0
    assert "above_base_mib" in arms["ours"]["memory"]


@pytest.mark.slow
def test_calibrate_paths() -> None:
    sizes = ("--widths", "16", "--tokens", "8", "--n", "20")

    report = _run("calibrate_paths", *sizes, "--seconds", "0.001")

    assert report["sizes"]["8x16"]["rfft_element"] > 0


@pytest.mark.slow
def test_serve(tmp_path: Path) -> None:
    report = _serve("minilm_32x64", tmp_path, "--no-memory")

    found = report["cases"]["minilm_32x64"]
    assert set(found["arms"]) == set(report["labels"]) - {"merged_requantized"}
    assert set(report["openings"]["minilm"]) >= {"activate", "activate_cached"}


@pytest.mark.slow
def test_serve_with_bound_inputs_and_memory(tmp_path: Path) -> None:
    arms = ("base", "merged", "live_nothing", "live_rows_1000", "lora_one", "lora_rows")

    report = _serve("llama_float32_32x1", tmp_path, "--binding", "--arms", ",".join(arms))

    found = report["cases"]["llama_float32_32x1"]["arms"]
    assert all("peak_mib" in found[arm]["memory"] for arm in arms)


def _serve(case: str, work: Path, *more: str) -> dict[str, Any]:
    options = ("--work", str(work), "--cases", case, "--runs", "1", "--threads", "1", "--smoke")
    report = _run("serve", *options, *more)
    agreement = dict(report["cases"][case]["agreement"])
    assert agreement.pop("live_nothing_is_base")
    effect = agreement.pop("effect")
    assert all(apart < ONNX_OUTPUT_F32 < 1e-3 * effect for apart in agreement.values())
    return report


@pytest.mark.slow
def test_activation() -> None:
    report = _run("activation", "--models", "tiny", "--runs", "1", "--n", "50")

    assert report["models"]["tiny"]["difference"] < 1e-6
    assert report["models"]["tiny"]["notes"] == []
    assert report["models"]["tiny"]["memory"]["a_session_mib"] < 20
