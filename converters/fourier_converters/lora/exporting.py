"""Adapter -> LoRA checkpoint of PEFT, for systems that know no other adapters.

A LoRA is not what was trained but an approximation of it, so how much of each delta weight it keeps
is measured, reported, and refused where it is too little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fourier_converters.layouts import framework_layout
from fourier_converters.lora.decomposition import LowRank, low_rank
from fourier_converters.peft import directory as peft_directory
from fourier_converters.peft.checkpoint import KEY_PREFIX
from fourier_converters.report import Report, Row
from fourier_format.adapter import Adapter, Array, Target
from fourier_format.atomic import refuse_existing
from fourier_format.errors import UnsupportedError, UsageError, Violation

Progress = Callable[[str], None]
"""Told what is being worked on."""

_NAMES: Final = {
    "linear": ("lora_A.weight", "lora_B.weight"),
    "embedding": ("lora_embedding_A", "lora_embedding_B"),
}
"""What PEFT calls the (rank, in) and the (out, rank) factor of a layer of each kind (0.21.2)."""


def to_lora(
    adapter: Adapter,
    directory: str | os.PathLike[str],
    *,
    rank: int,
    min_energy: float = 0.9,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the LoRA checkpoint that is nearest to `adapter`: its config and its tensors.

    Each delta weight becomes the best approximation of its rank. lora_alpha is the rank, so that
    nothing scales it. Replacements are saved as PEFT saves trained heads and biases.

    Args:
        adapter: The adapter.
        directory: The directory to write adapter_config.json and adapter_model.safetensors into.
        rank: The rank of every target's factors.
        min_energy: The part of each delta weight's squared Frobenius norm, 0 to 1, that must be
            kept.
        overwrite: Whether `directory` may exist; its other files stay.
        progress: Called before each target's work.

    Returns:
        A row for each target, with the part of the energy that is kept as its evidence.

    Raises:
        UnsupportedError: E-LORA-ENERGY: too little of a delta weight would be kept; all such
            targets are listed with the rank that would do. E-CONVERSION-UNSUPPORTED: a target is
            of a kind that this cannot express. E-NUMBER-NONFINITE: a delta weight is beyond
            float32.
        UsageError: The rank or the energy is impossible.
        OutputExistsError: `directory` exists and `overwrite` is false.
        FileAccessError: Writing failed.
    """
    directory = Path(directory)
    _check_arguments(adapter, rank, min_energy)
    refuse_existing(directory, overwrite)
    unsupported = list(_unsupported(adapter))
    if unsupported:
        raise UnsupportedError(unsupported)
    found: dict[str, LowRank] = {}
    for target in adapter.targets:
        if progress is not None:
            progress(target.name)
        found[target.name] = _approximated(adapter, target, rank)
    _refuse_losses(found, rank, min_energy)
    tensors = _tensors(adapter, found) | peft_directory.replacement_tensors(adapter)
    config = peft_directory.config_text(_config(adapter, rank))
    peft_directory.write_checkpoint(directory, config, tensors, overwrite=overwrite)
    return _report(adapter, found, rank, str(directory))


def _approximated(adapter: Adapter, target: Target, rank: int) -> LowRank:
    entry_set = adapter.entry_set(target)
    found = low_rank(
        entry_set.entries,
        adapter.coefficients(target),
        entry_set.shape,
        adapter.alpha_of(target),
        rank,
    )
    if not (np.isfinite(found.left).all() and np.isfinite(found.right).all()):
        problem = "the delta weight is not finite in float32"
        advice = "check alpha"
        raise UnsupportedError(Violation("E-NUMBER-NONFINITE", target.name, problem, advice=advice))
    return found


def _check_arguments(adapter: Adapter, rank: int, min_energy: float) -> None:
    highest = max(min(target.shape) for target in adapter.targets)
    if not 1 <= rank <= highest:
        problem = "no delta weight of this adapter has such a rank"
        raise UsageError(Violation("E-USAGE", "--rank", problem, str(rank), f"1 to {highest}"))
    if not 0 <= min_energy <= 1:
        problem = "not a part of a whole"
        raise UsageError(Violation("E-USAGE", "--min-energy", problem, str(min_energy), "0 to 1"))


def _unsupported(adapter: Adapter) -> Iterator[Violation]:
    """Yields why a LoRA cannot stand for `adapter`."""
    code, advice = "E-CONVERSION-UNSUPPORTED", "merge it into the base instead"
    if adapter.transform != "dft2":
        problem = "only delta weights of dft2 are approximated"
        yield Violation(code, "transform", problem, adapter.transform, advice=advice)
    for target in adapter.targets:
        if target.kind not in _NAMES:
            problem = "the adapter does not say what a LoRA of this kind must: its axes"
            expected = " or ".join(_NAMES)
            yield Violation(code, target.name, problem, target.kind, expected, advice)


def _refuse_losses(found: Mapping[str, LowRank], rank: int, min_energy: float) -> None:
    """Refuse to keep too little.

    Raises:
        UnsupportedError: E-LORA-ENERGY, for each target of which less than `min_energy` is kept.
    """
    needed = {n: f.rank_for(min_energy) for n, f in found.items() if not f.keeps(min_energy)}
    if needed:
        highest = max(needed.values())
        raise UnsupportedError(
            [
                Violation(
                    "E-LORA-ENERGY",
                    name,
                    f"a LoRA of rank {rank} keeps too little of this delta weight's energy",
                    f"{found[name].kept:.4f}",
                    f"at least {min_energy}",
                    f"rank {own} would do for this one and --rank {highest} for all; or accept the "
                    "loss with --min-energy",
                )
                for name, own in needed.items()
            ]
        )


def _tensors(adapter: Adapter, found: Mapping[str, LowRank]) -> dict[str, Array]:
    tensors = {}
    for target in adapter.targets:
        right, left = _NAMES[target.kind]
        tensors[f"{KEY_PREFIX}{target.name}.{right}"] = found[target.name].right
        tensors[f"{KEY_PREFIX}{target.name}.{left}"] = found[target.name].left
    return tensors


def _config(adapter: Adapter, rank: int) -> dict[str, Any]:
    """Returns adapter_config.json; PEFT takes its defaults for what is not there."""
    text = peft_directory.origin_text(adapter)
    origin = {} if text is None else peft_directory.parsed(text)
    base_model = adapter.base_model or {}
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": _has_conv1d(adapter),
        "target_modules": "|".join(re.escape(t.name) for t in adapter.targets),
        "modules_to_save": peft_directory.saved_modules(adapter, origin),
        "base_model_name_or_path": base_model.get("name"),
        "revision": base_model.get("revision"),
        "task_type": origin.get("task_type"),
        "inference_mode": True,
    }


def _has_conv1d(adapter: Adapter) -> bool:
    """Whether the base stores a target as (in, out); PEFT looks itself, and warns if told wrong."""
    model_type = (adapter.base_model or {}).get("model_type")
    layouts = {framework_layout(t.name, {str(model_type)}) for t in adapter.targets}
    return "in_out" in layouts


def _report(adapter: Adapter, found: Mapping[str, LowRank], rank: int, output: str) -> Report:
    rows = [
        Row(
            target=target.name,
            found="",
            evidence=f"rank {rank} keeps {found[target.name].kept:.4f} of its energy",
            shape=f"{target.shape[0]}x{target.shape[1]}",
            n=adapter.entry_set(target).count,
            relative_change=None,
        )
        for target in adapter.targets
    ]
    worst = min(adapter.targets, key=lambda target: found[target.name].kept)
    note = (
        f"a LoRA of rank {rank} is an approximation: it keeps {found[worst.name].kept:.4f} of the "
        f"energy of {worst.name}, and at least as much of every other delta weight"
    )
    return Report(output, tuple(rows), notes=(note,))
