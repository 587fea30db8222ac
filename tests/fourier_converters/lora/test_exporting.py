"""LoRA checkpoints: what is written, and what is refused for being too far from the adapter."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.lora import to_lora
from fourier_format import Adapter
from fourier_format.errors import (
    FourierFormatError,
    OutputExistsError,
    UnsupportedError,
    UsageError,
)
from tests.fourier_converters.adapters import adapter, delta, replaced, without_prints
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.peft.altered import first_set, first_target

PREFIX = "base_model.model."


@pytest.fixture
def two() -> Adapter:
    """Two targets, of which five entries make a rank of ten at most."""
    return without_prints({"a.query": weight(24, 16), "a.value": weight(12, 16, seed=1)})


def refusal(whole: Adapter, folder: Path, **settings: Any) -> FourierFormatError:
    with pytest.raises(FourierFormatError) as caught:
        to_lora(whole, folder / "lora", **settings)
    assert not list(folder.iterdir())
    return caught.value


def test_each_delta_weight_becomes_two_factors(two: Adapter, tmp_path: Path) -> None:
    to_lora(two, tmp_path / "lora", rank=10)

    file = SafetensorsFile(tmp_path / "lora" / "adapter_model.safetensors")
    assert len(file.names) == 4
    for target in two.targets:
        a, b = (file.tensor(f"{PREFIX}{target.name}.lora_{side}.weight") for side in "AB")
        assert (a.shape, b.shape) == ((10, target.shape[1]), (target.shape[0], 10))
        assert np.allclose(b @ a, delta(two, target.name), atol=1e-6)


def test_the_config_scales_nothing_and_names_every_target(two: Adapter, tmp_path: Path) -> None:
    whole = replaced(
        two,
        base_model={"name": "bert", "revision": "abc"},
        origin={"format": "peft", "text": '{"peft_type": "FOURIERFT", "task_type": "SEQ_CLS"}'},
    )

    to_lora(whole, tmp_path / "lora", rank=10)

    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config == {
        "peft_type": "LORA",
        "r": 10,
        "lora_alpha": 10,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": r"a\.query|a\.value",
        "modules_to_save": None,
        "base_model_name_or_path": "bert",
        "revision": "abc",
        "task_type": "SEQ_CLS",
        "inference_mode": True,
    }


@pytest.mark.parametrize(("model_type", "expected"), [("gpt2", True), ("llama", False)])
def test_the_model_type_says_how_the_base_stores_weights(
    model_type: str, expected: bool, tmp_path: Path
) -> None:
    whole = without_prints({"h.0.c_attn": weight(12, 8)}, base_model={"model_type": model_type})

    to_lora(whole, tmp_path / "lora", rank=8)

    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is expected


def test_the_report_states_what_is_kept(two: Adapter, tmp_path: Path) -> None:
    told: list[str] = []

    report = to_lora(two, tmp_path / "lora", rank=2, min_energy=0.1, progress=told.append)

    kept = []
    for target in two.targets:
        squares = np.linalg.svd(delta(two, target.name), compute_uv=False) ** 2
        kept.append(squares[:2].sum() / squares.sum())
    rows = [(r.target, r.evidence, r.shape, r.n) for r in report.rows]
    assert rows == [
        ("a.query", f"rank 2 keeps {kept[0]:.4f} of its energy", "24x16", 5),
        ("a.value", f"rank 2 keeps {kept[1]:.4f} of its energy", "12x16", 5),
    ]
    worst = two.targets[int(np.argmin(kept))].name
    (note,) = report.notes
    assert f"it keeps {min(kept):.4f} of the energy of {worst}" in note
    assert told == ["a.query", "a.value"]


def test_too_little_is_refused_with_the_ranks_that_would_do(two: Adapter, tmp_path: Path) -> None:
    error = refusal(two, tmp_path, rank=1, min_energy=0.95)

    assert isinstance(error, UnsupportedError)
    assert [v.where for v in error.violations] == ["a.query", "a.value"]
    ranks = []
    for target, violation in zip(two.targets, error.violations, strict=True):
        squares = np.linalg.svd(delta(two, target.name), compute_uv=False) ** 2
        parts = np.cumsum(squares) / squares.sum()
        ranks.append(int(np.argmax(parts >= 0.95)) + 1)
        assert violation.code == "E-LORA-ENERGY"
        assert (violation.got, violation.expected) == (f"{parts[0]:.4f}", "at least 0.95")
        assert f"rank {ranks[-1]} would do for this one" in str(violation)
    assert f"--rank {max(ranks)} for all" in str(error)

    to_lora(two, tmp_path / "lora", rank=max(ranks), min_energy=0.95)


def test_only_the_targets_that_lose_too_much_are_listed(two: Adapter, tmp_path: Path) -> None:
    constant = replaced(
        two.entry_sets[0],
        entries=np.array([[0, 0]], np.int32),
        coefficients=np.ones((1, 1), np.float32),
    )
    whole = replaced(two, entry_sets=(constant, two.entry_sets[1]))

    error = refusal(whole, tmp_path, rank=1)

    assert [v.where for v in error.violations] == ["a.value"]


def test_everything_can_be_asked_for(two: Adapter, tmp_path: Path) -> None:
    report = to_lora(two, tmp_path / "lora", rank=12, min_energy=1.0)

    assert "it keeps 1.0000 of the energy" in report.notes[0]


@pytest.mark.parametrize("rank", [0, -1, 17, 10**9])
def test_a_rank_that_no_delta_can_have_is_refused(rank: int, two: Adapter, tmp_path: Path) -> None:
    error = refusal(two, tmp_path, rank=rank)

    assert isinstance(error, UsageError)
    assert f"(got {rank}, expected 1 to 16)" in str(error)


@pytest.mark.parametrize("energy", [-0.1, 1.01, float("nan")])
def test_an_energy_that_is_no_part_is_refused(energy: float, two: Adapter, tmp_path: Path) -> None:
    assert refusal(two, tmp_path, rank=8, min_energy=energy).code == "E-USAGE"


@pytest.mark.parametrize("kind", ["conv2d", "einsum_dense"])
def test_kinds_that_the_adapter_says_too_little_of_are_refused(
    kind: str, two: Adapter, tmp_path: Path
) -> None:
    error = refusal(first_target(two, kind=kind), tmp_path, rank=10)

    (violation,) = error.violations
    assert (violation.code, violation.where) == ("E-CONVERSION-UNSUPPORTED", "a.query")
    assert (violation.got, violation.expected) == (kind, "linear or embedding")


def test_another_transform_is_refused(two: Adapter, tmp_path: Path) -> None:
    error = refusal(replaced(two, transform="dct2"), tmp_path, rank=10)

    assert [v.where for v in error.violations] == ["transform"]


def test_a_delta_beyond_float32_is_refused(two: Adapter, tmp_path: Path) -> None:
    error = refusal(first_target(two, alpha=1e200), tmp_path, rank=10)

    assert (error.code, error.violations[0].where) == ("E-NUMBER-NONFINITE", "a.query")


def test_targets_have_scales_of_their_own(two: Adapter, tmp_path: Path) -> None:
    """PEFT's FourierFT has not; a LoRA needs none."""
    whole = first_target(two, alpha=-3.0)

    to_lora(whole, tmp_path / "lora", rank=10)

    file = SafetensorsFile(tmp_path / "lora" / "adapter_model.safetensors")
    a, b = (file.tensor(f"{PREFIX}a.query.lora_{side}.weight") for side in "AB")
    assert np.allclose(b @ a, delta(whole, "a.query"), atol=1e-6)


def test_entries_need_not_be_torchs(two: Adapter, tmp_path: Path) -> None:
    whole = first_set(two, entries=two.entry_sets[0].entries[::-1], sampling=None)

    to_lora(whole, tmp_path / "lora", rank=10)

    assert (tmp_path / "lora" / "adapter_config.json").exists()


def test_an_existing_directory_is_refused_before_any_work(two: Adapter, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    told: list[str] = []

    with pytest.raises(OutputExistsError):
        to_lora(two, tmp_path / "lora", rank=10, progress=told.append)

    assert told == []


def test_a_failure_leaves_nothing(
    two: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    error = refusal(two, tmp_path, rank=10)

    assert "No space left on device" in str(error)


def test_fingerprints_make_no_difference(tmp_path: Path) -> None:
    for name, make in (("with", adapter), ("without", without_prints)):
        to_lora(make({"a.query": weight(24, 16)}), tmp_path / name, rank=10)

    one, two = (sorted((tmp_path / name).iterdir()) for name in ("with", "without"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
