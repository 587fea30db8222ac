"""What torch and PEFT compute with the weights that a quantised graph has left."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import torch

from tests.real.dequantised import layer_weight
from tests.real.exports import wrapped
from tests.real.workspace import Reference, Workspace, build_base, load_adapted, outputs


def rounded_weights(
    workspace: Workspace, written: dict[str, str], quantised: Path
) -> dict[str, torch.Tensor]:
    """Return each Linear's weight [out, in] as the quantised graph uses it, by module.

    ``written`` says which tensor each module writes (``dequantised.layer_outputs``).
    """
    model = build_base(workspace.case)
    return {
        module: torch.from_numpy(
            layer_weight(quantised, output, model.get_submodule(module).in_features)
        )
        for module, output in written.items()
    }


def rounded_reference(workspace: Workspace, weights: dict[str, torch.Tensor]) -> Reference:
    """Run the base and the adapted model, wrapped, with these weights in place of the base's."""
    exact = workspace.reference("wrapped")
    inputs = {key: torch.from_numpy(value) for key, value in exact.inputs.items()}
    base = build_base(workspace.case)
    adapted = load_adapted(workspace.case, workspace.adapter())
    results = []
    for model, modules in ((base, base), (adapted, adapted.get_base_model())):
        put(weights, modules)
        results.append(outputs(wrapped(model, "wrapped"), inputs))
    return Reference(inputs=exact.inputs, base=results[0], adapted=results[1])


def put(weights: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Replace the weights of these modules, in front of which PEFT may stand."""
    for name, weight in weights.items():
        layer = model.get_submodule(name)
        getattr(layer, "base_layer", layer).weight.data = weight
