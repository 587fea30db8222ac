"""A decoder with an adapter: made, taught, and made again whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from experiments.causal.cutting import cut, states
from experiments.causal.methods import Method
from experiments.causal.models import layers, new_model, targets
from experiments.causal.rows import Row
from experiments.causal.training import Recipe, Set, train
from experiments.memory import peak_bytes, start_peak
from experiments.training import put, trained
from experiments.trial import Context, Json


@dataclass(frozen=True, slots=True)
class Taught:
    """Which model is taught, and how it is adapted.

    Attributes:
        model: A name for models.located.
        method: What is trained.
        seed: Of its entries or factors.
        trained_layers: So many of the last layers are adapted, and those below are computed once;
            0: all, and nothing is computed beforehand.
        bits: Of the base's weights in training: 32 or 4.
        checkpointing: Whether activations are computed anew on the way back, to spare memory.
    """

    model: str
    method: Method
    seed: int
    trained_layers: int = 0
    bits: int = 32
    checkpointing: bool = False


def learned(
    taught: Taught,
    recipe: Recipe,
    rows: Sequence[Row],
    choose: Sequence[Row],
    context: Context,
) -> tuple[Json, dict[str, Tensor]]:
    """Returns history and sizes, and what was trained, by name."""
    result, model = _learned(taught, recipe, rows, choose, context)
    return result, trained(model)


def measured(
    taught: Taught,
    recipe: Recipe,
    rows: Sequence[Row],
    choose: Sequence[Row],
    context: Context,
) -> Json:
    """Returns history and sizes, the file's bytes too, of a model that is not merged."""
    result, model = _learned(taught, recipe, rows, choose, context)
    file = taught.method.save(model, context.folder)
    return result | {"file_bytes": file.stat().st_size}


def _learned(
    taught: Taught,
    recipe: Recipe,
    rows: Sequence[Row],
    choose: Sequence[Row],
    context: Context,
) -> tuple[Json, nn.Module]:
    rows_set, choose_set = (_set(taught, each, context) for each in (rows, choose))
    base = new_model(taught.model, context.shared, bits=taught.bits, precision=recipe.precision)
    model = _adapted(taught, base, context, taught.trained_layers)
    if taught.checkpointing:
        model.activation_checkpointing_enable()  # type: ignore[operator]  # transformers' own
    start_peak(context.device)
    before = peak_bytes(context.device)
    result = train(
        model, recipe, rows_set, choose_set, context.folder / "checkpoint.pt", context.step
    )
    values = trained(model)
    result |= {
        "before_bytes": before,
        "parameters": sum(value.numel() for value in values.values()),
        "learned_tokens": sum(each.answered for each in rows),
        "learned_answers": sum(int(each.part.max()) for each in rows),
    }
    return result, model


def whole(taught: Taught, values: dict[str, Tensor], context: Context) -> tuple[nn.Module, Path]:
    """Returns the float32 model with what was trained merged into it, and the adapter's file.

    Raises:
        ArithmeticError: Training diverged in its first epoch.
    """
    if not all(value.isfinite().all() for value in values.values()):
        raise ArithmeticError("training diverged in its first epoch: there is nothing to report")
    model = _adapted(taught, new_model(taught.model, context.shared), context, 0)
    put(model, values)
    file = taught.method.save(model, context.folder)
    taught.method.merge(model)
    return model, file


def _adapted(taught: Taught, model: nn.Module, context: Context, cut_to: int) -> nn.Module:
    """Returns `model`, adapted; of its layers only the last `cut_to`, or all for 0."""
    names = targets(model, taught.trained_layers or len(layers(model)))
    if cut_to:
        cut(model, cut_to)
    taught.method.apply(model, names, taught.seed)
    return model.to(context.device)


def _set(taught: Taught, rows: Sequence[Row], context: Context) -> Set:
    if not taught.trained_layers:
        return Set(list(rows), None)
    kept = states(taught.model, rows, taught.trained_layers, context.shared, context.device)
    return Set(list(rows), kept)
