"""The matrix: what real tools made of real exports, merged and held to PEFT in torch.

Every cell goes by the fingerprint, and by the names alone where its tool left any. What a cell
cannot do is an error that names the reason: no cell converts partly, or silently nothing.
"""

from pathlib import Path

import numpy as np
import pytest

import fourier_format
from fourier_converters.onnx import to_onnx
from tests.fourier_converters.command import Captured, refused
from tests.real.branches import branches_of, nearest
from tests.real.checks import compare, deltas, effects, figures, run_onnx, worst
from tests.real.dequantised import layer_outputs
from tests.real.rounded import rounded_reference, rounded_weights
from tests.real.routes import convert
from tests.real.samples import FUSED, OPTIMISED, QUANTISED, Sample
from tests.real.workspace import Workspace, WorkspaceOf
from tests.tolerances import (
    DELTA_F32,
    HALF_ERROR_RATIO,
    ONNX_EFFECT_F32,
    ONNX_EFFECT_QUANTISED,
    ONNX_OUTPUT_F32,
)

pytestmark = pytest.mark.real

NOT_LOOKED_INTO = {
    "vit-query-value-dynamo-ort-all": None,
    "bert-attention-written-out-dynamo-qlinear": "QLinearMatMul",
    "bert-attention-written-out-torchscript-fused+dynamic": "QAttention",
}


SAMPLES = {sample.name: sample for sample in (*FUSED, *OPTIMISED, *QUANTISED)}

NAMELESS = (
    "llama-grouped-queries-dynamo-ort-all",
    "llama-grouped-queries-dynamo-int4-asymmetric",
    "llama-grouped-queries-dynamo-int4-qdq-asymmetric",
    "llama-grouped-queries-dynamo-dynamic",
    "t5-encoder-decoder-dynamo-ort-extended",
    "bert-attention-written-out-dynamo-qlinear",
    "bert-attention-written-out-torchscript-fused+dynamic",
)
"""Samples whose tools drop dynamo's node metadata, of models without biases to go by; and those
whose weights are not looked into."""


def _adapter(workspace: Workspace, folder: Path) -> Path:
    """The .fft with the fingerprints of the float32 checkpoint."""
    fft = folder / "adapter.fft"
    base = workspace.fingerprinted_base()
    convert(workspace.adapter(), "--to", "fft", "--base", base, "-o", fft)
    return fft


def _rounds_activations(sample: Sample) -> bool:
    return (
        not sample.exact
        and sample.tools != ("int4", "ort-extended")
        and (NOT_LOOKED_INTO.get(sample.name, "") == "")
    )


def _names(samples: tuple[Sample, ...]) -> list[str]:
    return [s.name for s in samples if NOT_LOOKED_INTO.get(s.name) is None]


@pytest.mark.parametrize("name", [n for n in _names((*FUSED, *OPTIMISED)) if "float16" not in n])
def test_a_float_graph_merged_computes_what_peft_does(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base = workspace.rewritten(sample.how, sample.tools)
    merged = tmp_path / "merged.onnx"

    convert(_adapter(workspace, tmp_path), "--to", "onnx", "--base", base, "-o", merged)

    reference = workspace.reference("wrapped")
    got, got_base = run_onnx(merged, reference.inputs), run_onnx(base, reference.inputs)
    output = worst(reference.adapted, got)
    effect = worst(effects(reference.adapted, reference.base), effects(got, got_base))
    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= ONNX_OUTPUT_F32
    assert effect <= ONNX_EFFECT_F32


@pytest.mark.parametrize("name", [s.name for s in QUANTISED if s.exact])
def test_a_weight_only_quantised_graph_gets_the_whole_change(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The reference is torch with the graph's own dequantised weights, and the adapter on them."""
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base = workspace.rewritten(sample.how, sample.tools)
    merged = tmp_path / "merged.onnx"

    convert(_adapter(workspace, tmp_path), "--to", "onnx", "--base", base, "-o", merged)

    weights = rounded_weights(workspace, layer_outputs(workspace.onnx(sample.how)), base)
    reference = rounded_reference(workspace, weights)
    got, got_base = run_onnx(merged, reference.inputs), run_onnx(base, reference.inputs)
    output = worst(reference.adapted, got)
    effect = worst(effects(reference.adapted, reference.base), effects(got, got_base))
    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= ONNX_OUTPUT_F32
    assert effect <= ONNX_EFFECT_QUANTISED


@pytest.mark.parametrize("name", [s.name for s in FUSED if s.tools[-1].endswith("float16")])
def test_a_float16_graph_merged_is_about_as_exact_as_its_base(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Or as what the tool itself makes of the model merged in float32.

    These adapters are as large as their bases, and an adapted model can magnify rounding more than
    its base does. That is no error of the merge.
    """
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base = workspace.rewritten(sample.how, sample.tools)
    merged, whole, peers = (tmp_path / f"{n}.onnx" for n in ("merged", "whole", "peers"))
    fft = _adapter(workspace, tmp_path)

    convert(fft, "--to", "onnx", "--base", base, "-o", merged)

    convert(fft, "--to", "onnx", "--base", workspace.onnx(sample.how), "-o", whole)
    workspace.rewrite(whole, peers, sample.tools[-1])
    reference = workspace.reference("wrapped")
    own = worst(reference.base, run_onnx(base, reference.inputs))
    peer = worst(reference.adapted, run_onnx(peers, reference.inputs))
    error = worst(reference.adapted, run_onnx(merged, reference.inputs))
    figures.info("base %.1e, merged %.1e, float32 first %.1e", own, error, peer)
    assert error <= HALF_ERROR_RATIO * max(own, peer)


@pytest.mark.parametrize("name", [s.name for s in QUANTISED if _rounds_activations(s)])
def test_a_graph_with_rounded_activations_gets_the_exact_change_beside_them(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Each branch's own output is x delta^T; what the base rounds before and after is its own."""
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base = workspace.rewritten(sample.how, sample.tools)
    merged = tmp_path / "merged.onnx"

    adapter = fourier_format.load(_adapter(workspace, tmp_path))
    report = to_onnx(adapter, base, merged)

    expected, used = deltas(workspace), set()
    for branch in branches_of(merged, workspace.reference("wrapped").inputs):
        target = nearest(branch.weight, expected)
        used.add(target)
        exact = branch.x.astype(np.float64) @ expected[target].T
        error, off = compare(exact, branch.term), compare(expected[target].T, branch.weight)
        figures.info("%s: weight off by %.1e, term by %.1e", target, off, error)
        assert off <= DELTA_F32
        assert error <= ONNX_OUTPUT_F32
    in_place = {row.target for row in report.rows if row.relative_change is not None}
    assert used | in_place == set(expected)
    assert used.isdisjoint(in_place)
    assert used


@pytest.mark.parametrize("name", [s.name for s in QUANTISED if s.tools[-1] == "ort-extended"])
def test_fusing_a_quantised_graph_before_or_after_merging_is_the_same(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    fft = _adapter(workspace, tmp_path)
    merged = tmp_path / "merged.onnx"
    convert(
        fft, "--to", "onnx", "--base", workspace.rewritten(sample.how, sample.tools), "-o", merged
    )
    unfused = tmp_path / "unfused.onnx"
    base = workspace.rewritten(sample.how, sample.tools[:-1])
    convert(fft, "--to", "onnx", "--base", base, "-o", unfused)

    inputs = workspace.reference("wrapped").inputs
    error = worst(run_onnx(unfused, inputs), run_onnx(merged, inputs))

    figures.info("off by %.1e", error)
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize(
    ("name", "named"), [(name, named) for name, named in NOT_LOOKED_INTO.items() if named]
)
def test_a_graph_whose_weights_are_not_looked_into_is_refused_by_name(
    name: str, named: str, workspace_of: WorkspaceOf, tmp_path: Path, capsys: Captured
) -> None:
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base = workspace.rewritten(sample.how, sample.tools)
    fft = _adapter(workspace, tmp_path)

    lines = refused(capsys, fft, "--to", "onnx", "--base", base, "-o", tmp_path / "merged.onnx")

    assert any(named in line for line in lines), lines
    assert not (tmp_path / "merged.onnx").exists()


@pytest.mark.parametrize("name", [n for n in SAMPLES if n not in NAMELESS])
def test_names_alone_find_what_the_fingerprint_finds(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """A PEFT checkpoint in one step: no fingerprint, but what the tools have left of names."""
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base = workspace.rewritten(sample.how, sample.tools)
    named, marked = tmp_path / "named.onnx", tmp_path / "marked.onnx"

    convert(workspace.adapter(), "--to", "onnx", "--base", base, "-o", named)

    convert(_adapter(workspace, tmp_path), "--to", "onnx", "--base", base, "-o", marked)
    inputs = workspace.reference("wrapped").inputs
    assert worst(run_onnx(marked, inputs), run_onnx(named, inputs)) == 0


@pytest.mark.parametrize("name", NAMELESS)
def test_a_graph_without_names_is_refused_for_each_target(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path, capsys: Captured
) -> None:
    sample = SAMPLES[name]
    workspace = workspace_of(sample.case)
    base, output = workspace.rewritten(sample.how, sample.tools), tmp_path / "merged.onnx"

    lines = refused(capsys, workspace.adapter(), "--to", "onnx", "--base", base, "-o", output)

    assert all(line.endswith("[E-TARGET-NOT-FOUND]") for line in lines)
    assert not output.exists()
