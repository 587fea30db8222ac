"""WaveFT checkpoints: merged models equal PEFT's, and a checkpoint comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import fourier_format
from fourier_converters.cli import main
from tests.real.cases import WAVEFT_CASES
from tests.real.checks import assert_equals_peft, compare, effects
from tests.real.exports import EXPORTERS, Export, Exporter
from tests.real.routes import one_step, two_steps
from tests.real.workspace import WorkspaceOf, build_base, load_adapted
from tests.tolerances import EFFECT_F32, OUTPUT_F32

pytestmark = pytest.mark.real
_NAMES = [case.name for case in WAVEFT_CASES]


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _NAMES)
def test_two_steps_equal_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("name", _NAMES)
def test_one_step_equals_peft(name: str, workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter="dynamo", wrap=workspace.case.wrap))

    merged = one_step(workspace.adapter(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("name", _NAMES)
def test_merged_weights_are_pefts_own(name: str, workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    workspace = workspace_of(name)
    base, output = workspace.safetensors(), tmp_path / "merged"
    arguments = [workspace.adapter(), "--to", "safetensors", "--base", base.parent, "-o", output]

    assert main([str(argument) for argument in arguments]) == 0

    theirs = load_adapted(workspace.case, workspace.adapter()).merge_and_unload()
    before = dict(build_base(workspace.case).named_parameters())
    merged = load_file(output / "model.safetensors")
    changed = 0
    for key, parameter in theirs.named_parameters():
        expected, base_values = parameter.detach().numpy(), before[key].detach().numpy()
        if np.array_equal(expected, base_values):
            continue
        changed += 1
        (stored,) = [
            n for n in merged if n == key or key.endswith(f".{n}") or n.endswith(f".{key}")
        ]
        assert compare(expected, merged[stored]) <= OUTPUT_F32
        mine, peft = effects([merged[stored], expected], [base_values, base_values])
        assert compare(peft, mine) <= EFFECT_F32
    assert changed >= 4


@pytest.mark.parametrize("name", _NAMES)
def test_the_checkpoint_comes_back_to_the_byte(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    workspace = workspace_of(name)
    source, base = workspace.adapter(), workspace.safetensors()
    fft, back = tmp_path / "a.fft", tmp_path / "back"

    assert main([str(source), "--to", "fft", "--base", str(base), "-o", str(fft)]) == 0
    assert main([str(fft), "--to", "peft", "-o", str(back)]) == 0

    assert fourier_format.load(fft).transform.startswith("dwt2:")
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert (back / names[0]).read_bytes() == (source / names[0]).read_bytes()
    found, expected = load_file(back / names[1]), load_file(source / names[1])
    assert found.keys() == expected.keys()
    assert all(found[key].tobytes() == expected[key].tobytes() for key in expected)
