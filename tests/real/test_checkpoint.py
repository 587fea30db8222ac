"""Merged checkpoints: transformers loads them, and they compute what PEFT computes."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import FourierFTConfig, PeftModel, get_peft_model
from transformers import BertForSequenceClassification, PreTrainedModel

from fourier_converters.base import open_base
from fourier_converters.mapping import Map
from fourier_converters.peft import from_peft
from fourier_converters.peft.checkpoint import read_checkpoint
from fourier_converters.report import Report
from fourier_converters.safetensors import to_checkpoint
from tests.real import bases
from tests.real.cases import (
    HALF_COEFFICIENT_CASES,
    MINILM_CASES,
    SMALL_CASES,
    Case,
    example_inputs,
)
from tests.real.checks import compare, deltas, effects, figures, worst
from tests.real.workspace import (
    Array,
    WorkspaceOf,
    build_base,
    load_adapted,
    move_trained_parameters,
    outputs,
)
from tests.tolerances import DELTA_F32, EFFECT_F32, OUTPUT_F32

pytestmark = pytest.mark.real
_CASES = [case.name for case in (*MINILM_CASES, *SMALL_CASES, *HALF_COEFFICIENT_CASES)]
_HALF = [torch.float16, torch.bfloat16]


def merged(
    adapter: Path, base: Path, folder: Path, *, named: Path | None = None
) -> tuple[Path, Report]:
    """Convert a PEFT checkpoint with its base, and merge it into that base.

    `named` is a base in which the modules have PEFT's names, where the checkpoint's are others.
    """
    checkpoint = read_checkpoint(adapter)
    whole = from_peft(checkpoint, open_base(named or base, Map(), checkpoint.spectra))
    return folder / "merged", to_checkpoint(whole, base, folder / "merged", verify_full=True)


def loaded(path: Path, kind: type[PreTrainedModel], **settings: Any) -> PreTrainedModel:
    """Load with transformers, to the last tensor and without a doubt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, info = kind.from_pretrained(path, output_loading_info=True, **settings)
    doubts = {key: value for key, value in info.items() if value}
    assert doubts == {}
    whole: PreTrainedModel = model.eval()
    return whole


def assert_computes_the_same(got: list[Array], adapted: list[Array], base: list[Array]) -> None:
    output = worst(adapted, got)
    effect = worst(effects(adapted, base), effects(got, base))
    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= OUTPUT_F32
    assert effect <= EFFECT_F32


def reference(case: Case, adapter: Path) -> tuple[list[Array], list[Array]]:
    """Return the outputs of PEFT and of the base alone."""
    base = build_base(case)
    inputs = example_inputs(base)
    return outputs(load_adapted(case, adapter), inputs), outputs(base, inputs)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", _CASES)
def test_transformers_computes_what_peft_does(
    name: str, sharded: bool, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    workspace = workspace_of(name)
    base = (workspace.sharded() if sharded else workspace.safetensors()).parent

    named = workspace.fingerprinted_base()
    renamed = named.suffix == ".onnx"  # then the fingerprint alone finds the weights
    path, _ = merged(workspace.adapter(), base, tmp_path, named=named if renamed else None)

    model = loaded(path, type(build_base(workspace.case)))
    adapted, unadapted = reference(workspace.case, workspace.adapter())
    got = outputs(model, example_inputs(model))
    assert_computes_the_same(got, adapted, unadapted)


@pytest.mark.parametrize("name", ["gpt2-conv1d", "llama-grouped-queries", "minilm-all-linear"])
def test_the_weights_are_those_that_peft_merges(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    workspace = workspace_of(name)

    path, _ = merged(workspace.adapter(), workspace.safetensors().parent, tmp_path)

    by_peft = load_adapted(workspace.case, workspace.adapter()).merge_and_unload().state_dict()
    got = loaded(path, type(build_base(workspace.case))).state_dict()
    assert got.keys() == by_peft.keys()
    for key, tensor in by_peft.items():
        error = (got[key] - tensor).abs().max()
        assert error <= DELTA_F32 * tensor.abs().max()


@pytest.mark.parametrize("dtype", _HALF)
@pytest.mark.parametrize("name", ["minilm-query-value", "gpt2-conv1d", "llama-grouped-queries"])
def test_half_precision_weights_are_rounded_once(
    name: str, dtype: torch.dtype, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Half a unit in the last place is what one rounding may cost."""
    workspace = workspace_of(name)
    base = workspace.safetensors(dtype)

    path, _ = merged(workspace.adapter(), base.parent, tmp_path)

    unit = torch.finfo(dtype).eps / 2
    smallest = torch.finfo(dtype).smallest_normal * unit
    stored = build_base(workspace.case).to(dtype)
    model = loaded(path, type(stored))
    for target, delta in deltas(workspace).items():
        before, after = (
            m.get_submodule(target).weight.data.double().numpy() for m in (stored, model)
        )
        exact = before + (delta if before.shape == delta.shape and "c_" not in target else delta.T)
        assert (np.abs(after - exact) <= unit * np.abs(exact) + smallest).all()
        assert model.get_submodule(target).weight.dtype == dtype


def test_width_2048_equals_float64(workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """Where torch's own inverse FFT is wrong, the formula in float64 is the reference."""
    workspace = workspace_of("llama-width-2048")

    path, _ = merged(workspace.adapter(), workspace.safetensors().parent, tmp_path)

    base = build_base(workspace.case)
    model = loaded(path, type(base))
    for target, delta in deltas(workspace).items():
        before, after = (
            m.get_submodule(target).weight.data.double().numpy() for m in (base, model)
        )
        assert compare(delta, after - before) <= 2 * DELTA_F32


def test_a_tied_head_has_a_weight_of_its_own_and_the_embedding_stays(
    workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """PEFT's merge would change the embedding too; its adapter, and this, do not."""
    workspace = workspace_of("gpt2-tied-lm-head")

    path, report = merged(workspace.adapter(), workspace.safetensors().parent, tmp_path)

    base = build_base(workspace.case)
    model = loaded(path, type(base))
    assert model.config.tie_word_embeddings is False
    assert torch.equal(model.transformer.wte.weight, base.transformer.wte.weight)
    assert not torch.equal(model.lm_head.weight, base.lm_head.weight)
    assert any("tie_word_embeddings" in note for note in report.notes)


class TestHeads:
    @staticmethod
    def trained(model: PreTrainedModel, folder: Path) -> PeftModel:
        config = FourierFTConfig(
            target_modules=["query", "value"], n_frequency=150, scaling=30.0, task_type="SEQ_CLS"
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(5)
            wrapped = get_peft_model(model, config)
            move_trained_parameters(wrapped)
            wrapped.save_pretrained(folder)
        whole: PeftModel = wrapped.eval()
        return whole

    def test_a_head_comes_to_a_base_that_has_none(self, tmp_path: Path) -> None:
        """The usual way: a pretrained body, and a new classifier trained with the adapter."""
        model = bases.bert_classifier()
        model.bert.save_pretrained(tmp_path / "base")
        adapted = self.trained(model, tmp_path / "adapter")

        path, report = merged(tmp_path / "adapter", tmp_path / "base", tmp_path)

        got = loaded(path, BertForSequenceClassification, num_labels=3)
        inputs = example_inputs(got)
        assert compare(outputs(adapted, inputs)[0], outputs(got, inputs)[0]) <= OUTPUT_F32
        assert {"classifier.weight", "classifier.bias"} <= {row.target for row in report.rows}

    @pytest.mark.parametrize("shard_size", ["5GB", "100KB"])
    def test_a_head_of_three_labels_replaces_one_of_two(
        self, shard_size: str, tmp_path: Path
    ) -> None:
        two = bases.bert_classifier()
        two.classifier, two.config.num_labels = torch.nn.Linear(60, 2), 2
        two.save_pretrained(tmp_path / "base", max_shard_size=shard_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            three = BertForSequenceClassification.from_pretrained(
                tmp_path / "base", num_labels=3, ignore_mismatched_sizes=True
            )
        adapted = self.trained(three, tmp_path / "adapter")

        path, _ = merged(tmp_path / "adapter", tmp_path / "base", tmp_path)

        got = loaded(path, BertForSequenceClassification, num_labels=3)
        inputs = example_inputs(got)
        assert compare(outputs(adapted, inputs)[0], outputs(got, inputs)[0]) <= OUTPUT_F32


def test_fingerprints_say_what_an_absent_config_does_not(
    workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """How GPT-2 stores its weights, that is."""
    workspace = workspace_of("gpt2-conv1d")
    base = workspace.safetensors()
    checkpoint = read_checkpoint(workspace.adapter())
    whole = from_peft(checkpoint, open_base(base, Map(), checkpoint.spectra))
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "model.safetensors").write_bytes(base.read_bytes())

    to_checkpoint(whole, tmp_path / "bare", tmp_path / "without")
    to_checkpoint(whole, base.parent, tmp_path / "with")

    one, other = (tmp_path / name / "model.safetensors" for name in ("without", "with"))
    assert one.read_bytes() == other.read_bytes()
