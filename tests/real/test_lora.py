"""LoRA checkpoints of real models: PEFT loads them, and with full rank they are the adapter."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import warnings
from pathlib import Path

import pytest
from peft import PeftModel

from fourier_converters.base import open_base
from fourier_converters.lora import to_lora
from fourier_converters.mapping import Map
from fourier_converters.peft import from_peft
from fourier_converters.peft.checkpoint import read_checkpoint
from fourier_format import Adapter
from fourier_format.errors import UnsupportedError
from tests.real.cases import example_inputs
from tests.real.checks import effects, figures, worst
from tests.real.workspace import Workspace, WorkspaceOf, build_base, load_adapted, outputs
from tests.tolerances import EFFECT_F32, OUTPUT_F32

pytestmark = pytest.mark.real


def adapter_of(workspace: Workspace) -> Adapter:
    checkpoint = read_checkpoint(workspace.adapter())
    base = open_base(workspace.safetensors(), Map(), checkpoint.spectra)
    return from_peft(checkpoint, base)


@pytest.mark.parametrize(
    "name",
    [
        "gpt2-conv1d",
        "gpt2-biases-of-targets",
        "llama-grouped-queries",
        "bert-all-biases",
        "bert-modules-to-save",
        "roberta-trained-head",
        "albert-one-target-many-uses",
    ],
)
def test_with_full_rank_it_computes_what_the_adapter_does(
    name: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    workspace = workspace_of(name)
    adapter = adapter_of(workspace)
    rank = max(min(target.shape) for target in adapter.targets)

    to_lora(adapter, tmp_path / "lora", rank=rank, min_energy=1.0)

    base = build_base(workspace.case)
    inputs = example_inputs(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers; those of PEFT fail the unit tests
        lora = PeftModel.from_pretrained(build_base(workspace.case), tmp_path / "lora").eval()
    adapted = outputs(load_adapted(workspace.case, workspace.adapter()), inputs)
    got, unadapted = outputs(lora, inputs), outputs(base, inputs)
    output = worst(adapted, got)
    effect = worst(effects(adapted, unadapted), effects(got, unadapted))
    figures.info("output %.1e, effect %.1e", output, effect)
    assert output <= OUTPUT_F32
    assert effect <= EFFECT_F32


def test_a_trained_adapter_is_refused_at_a_low_rank_and_taken_at_the_one_that_is_named(
    workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    adapter = adapter_of(workspace_of("minilm-trained"))

    with pytest.raises(UnsupportedError) as caught:
        to_lora(adapter, tmp_path / "lora", rank=8)

    named = {int(str(v).split("--rank ")[1].split()[0]) for v in caught.value.violations}
    (rank,) = named
    figures.info("rank 8 keeps %s; 0.9 needs %d", [v.got for v in caught.value.violations], rank)
    to_lora(adapter, tmp_path / "lora", rank=rank)
