"""How transformers stores linear weights: (out, in) but for its Conv1D, by model type and name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_CONV1D_NAMES: Final = frozenset({"c_attn", "q_attn", "c_proj", "c_fc"})
_CONV1D_TYPES: Final = frozenset(
    {"gpt2", "imagegpt", "decision_transformer", "openai-gpt", "clvp", "clvp_decoder"}
)
_LINEAR_TYPES: Final = frozenset({"gpt_bigcode", "gpt_neo", "starcoder2"})
"""Model types that give the same names to nn.Linear.

Source of all three: the modeling files of transformers 5.23 that use pytorch_utils.Conv1D, or that
have these names.
"""


def framework_layout(module: str, model_types: Collection[str]) -> str | None:
    """Returns "out_in" or "in_out" for the weight of a linear layer, None where nothing says.

    Args:
        module: The layer's path.
        model_types: The model types in its config.json, those of parts included.
    """
    if module.rpartition(".")[2] not in _CONV1D_NAMES:
        return "out_in"
    conv1d = not _CONV1D_TYPES.isdisjoint(model_types)
    linear = not _LINEAR_TYPES.isdisjoint(model_types)
    if conv1d == linear:
        return None
    return "in_out" if conv1d else "out_in"
