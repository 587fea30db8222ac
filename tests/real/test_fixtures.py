"""The fixtures themselves: bars on a negligible effect or a bad export would prove nothing."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from collections.abc import Iterator

import pytest
import torch
from peft import PeftModel

from tests.real.cases import CASES, GENERATING_CASES, SMALL_CASES, WRITTEN_OUT_CASE
from tests.real.checks import compare, effects, figures, run_onnx, worst
from tests.real.exports import EXPORTERS, Export, Exporter
from tests.real.workspace import (
    Workspace,
    WorkspaceOf,
    build_base,
    load_adapted,
    outputs,
)
from tests.tolerances import ONNX_EFFECT_F32, ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_NAMES = [case.name for case in CASES]
_REWRITTEN = [case.name for case in (WRITTEN_OUT_CASE, *GENERATING_CASES)]


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _NAMES)
def test_exported_base_equals_torch(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf
) -> None:
    """The exporter's own error stays below the bar for the merged model."""
    workspace = workspace_of(name)
    reference = workspace.reference()
    path = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    error = worst(reference.base, run_onnx(path, reference.inputs))

    figures.info("base export %.1e", error)
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize("name", [*_NAMES, *_REWRITTEN])
def test_adapter_changes_every_output(name: str, workspace_of: WorkspaceOf) -> None:
    """Each output moves by a twentieth of its largest value at least."""
    reference = workspace_of(name).reference()

    sizes = [compare(base, adapted) for base, adapted in
             zip(reference.base, reference.adapted, strict=True)]  # fmt: skip

    figures.info("effect %.2f of the output at least", min(sizes))
    assert min(sizes) >= 0.05


@pytest.mark.parametrize("name", [*(case.name for case in SMALL_CASES), *_REWRITTEN])
def test_every_trained_tensor_shows_in_the_output(name: str, workspace_of: WorkspaceOf) -> None:
    """Leaving out any one delta, bias or replaced module breaks the bar on the effect tenfold."""
    workspace = workspace_of(name)
    reference = workspace.reference()
    model = load_adapted(workspace.case, workspace.adapter())
    inputs = {key: torch.from_numpy(value) for key, value in reference.inputs.items()}
    whole = effects(reference.adapted, reference.base)
    shares = {}
    for tensor, untrained in _trained(workspace, model):
        parameter = model.get_parameter(tensor)
        kept = parameter.data
        parameter.data = untrained
        shares[tensor] = worst(whole, effects(outputs(model, inputs), reference.base))
        parameter.data = kept

    figures.info("smallest share of %d: %.1e", len(shares), min(shares.values()))
    assert min(shares.values()) >= 10 * ONNX_EFFECT_F32, shares


def _trained(workspace: Workspace, model: PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Name what training changed, with its value before."""
    base = dict(build_base(workspace.case).named_parameters())
    for name, parameter in list(model.named_parameters()):
        path = name.removeprefix("base_model.model.").replace(".base_layer", "")
        path = path.replace(".modules_to_save.default", "")
        if "fourierft_spectrum" in path:
            yield name, torch.zeros_like(parameter.data)
        elif "original_module" in path or path.endswith("key.bias"):
            continue  # softmax does not feel a shift that is the same for every key
        elif not torch.equal(base[path], parameter):
            yield name, base[path].data
