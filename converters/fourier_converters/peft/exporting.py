"""Adapter -> PEFT checkpoint, where PEFT can hold it.

PEFT has one seed, one scale and one draw for all layers, so everything else is refused by name:
a checkpoint that loads as a different model would be worse than none.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from fourier_converters.peft.checkpoint import (
    BASE_LAYER,
    CONFIG_FILE,
    KEY_PREFIX,
    MODEL_FILE,
    PEFT_TYPE,
    SPECTRUM_SUFFIX,
    frequencies_of,
)
from fourier_format import sampling, strict_json
from fourier_format.adapter import Adapter, Array, Sampling
from fourier_format.atomic import os_errors, refuse_existing, staged
from fourier_format.containers.safetensors import encode_plain
from fourier_format.errors import InvalidAdapterError, UnsupportedError, Violation

_METADATA: Final = {"format": "pt"}


def to_peft(adapter: Adapter, directory: Path, *, overwrite: bool = False) -> None:
    """Write `adapter` as a PEFT checkpoint: adapter_config.json and adapter_model.safetensors.

    A config that came from PEFT is written back as it was, unless the adapter has changed since.

    Raises:
        UnsupportedError: PEFT cannot hold this adapter; all reasons are listed.
        OutputExistsError: `directory` exists and `overwrite` is false.
        FileAccessError: Writing failed.
    """
    reasons = list(_reasons(adapter))
    if reasons:
        raise UnsupportedError(reasons)
    config = _config_text(adapter)
    tensors = encode_plain(_tensors(adapter), _METADATA)
    refuse_existing(directory, overwrite)
    created = not directory.exists()
    try:
        with os_errors(directory, "write"):
            directory.mkdir(exist_ok=True)
        with staged(directory / CONFIG_FILE, overwrite=True) as config_file:
            config_file.write(config.encode())
            config_file.flush()  # a full disk shows before the tensors take their name
            with staged(directory / MODEL_FILE, overwrite=True) as model_file:
                model_file.write(tensors)
    except BaseException:
        if created:
            _remove(directory)
        raise


def _reasons(adapter: Adapter) -> Iterator[Violation]:
    """Yields why PEFT cannot hold `adapter`."""
    if adapter.transform != "dft2":
        yield _reason("transform", "PEFT's FourierFT knows dft2 only", adapter.transform)
    for target in adapter.targets:
        if target.kind != "linear":
            yield _reason(target.name, "PEFT adapts linear layers only", target.kind)
        if adapter.alpha_of(target) != adapter.alpha:
            got = f"{target.alpha}, and {adapter.alpha} for the adapter"
            yield _reason(target.name, "PEFT has one scale for all layers", got)
    seeds = {_seed_of(adapter, s.sampling) for s in adapter.entry_sets}
    if len(seeds) > 1:
        yield _reason("entries", "PEFT has one seed for all layers", str(sorted(map(str, seeds))))
    for entry_set in adapter.entry_sets:
        seed = _seed_of(adapter, entry_set.sampling)
        generator = sampling.torch_generator(entry_set.shape)
        recipe = Sampling(method="torch-randperm", generator=generator, seed=seed)
        drawn = seed is not None and np.array_equal(
            sampling.draw(entry_set.shape, entry_set.count, recipe), entry_set.entries
        )
        if not drawn:
            method = entry_set.sampling.method if entry_set.sampling else "unknown"
            problem = "PEFT draws its entries by torch.randperm and cannot take others"
            yield _reason(f"entries/{entry_set.id}", problem, f"entries drawn by {method}")


def _seed_of(adapter: Adapter, recipe: Sampling | None) -> int | None:
    return adapter.seed if recipe is None or recipe.seed is None else recipe.seed


def _config_text(adapter: Adapter) -> str:
    """Returns adapter_config.json: the origin's text, or a new one where it no longer holds."""
    origin = adapter.origin or {}
    text = str(origin.get("text")) if origin.get("format") == "peft" else None
    config = {} if text is None else _parsed(text)
    if text is not None and _holds(config, adapter):
        return text
    saved = {key: config[key] for key in ("modules_to_save",) if key in config}
    selected = {"layers_to_transform", "layers_pattern", "exclude_modules"}
    kept = {key: value for key, value in config.items() if key not in selected}
    config = kept | _settings(adapter) | saved
    if not _holds(config, adapter):
        problem = "PEFT's n_frequency_pattern cannot give each module its number of entries"
        raise UnsupportedError(_reason("targets", problem))
    return _pretty(config)


def _parsed(text: str) -> dict[str, Any]:
    """Returns the origin's config; empty where it is another kind of adapter's."""
    config = strict_json.loads(text, "origin")
    if not isinstance(config, dict):
        raise InvalidAdapterError(Violation("E-PEFT-CONFIG", "origin", "not a JSON object"))
    return config if config.get("peft_type") == PEFT_TYPE else {}


def _holds(config: dict[str, Any], adapter: Adapter) -> bool:
    """Whether PEFT would build this very adapter from `config`."""
    (seed,) = {_seed_of(adapter, s.sampling) for s in adapter.entry_sets}
    return (
        config.get("peft_type") == PEFT_TYPE
        and config.get("scaling", 150.0) == adapter.alpha
        and config.get("random_loc_seed", 777) == seed
        and all(
            frequencies_of(t.name, config) == adapter.entry_set(t).count for t in adapter.targets
        )
    )


def _settings(adapter: Adapter) -> dict[str, Any]:
    counts = {t.name: adapter.entry_set(t).count for t in adapter.targets}
    ((usual, _),) = Counter(counts.values()).most_common(1)
    return {
        "peft_type": PEFT_TYPE,
        "n_frequency": usual,
        "n_frequency_pattern": {name: n for name, n in counts.items() if n != usual},
        "scaling": adapter.alpha,
        "random_loc_seed": _seed_of(adapter, adapter.entry_sets[0].sampling),
        "target_modules": "|".join(re.escape(name) for name in counts),  # a suffix could hit more
        "modules_to_save": _saved_modules(adapter) or None,
        "base_model_name_or_path": (adapter.base_model or {}).get("name"),
        "inference_mode": True,
    }


def _saved_modules(adapter: Adapter) -> list[str]:
    """Returns the modules outside the targets that were replaced whole, weight and bias.

    PEFT fails to load a saved module that lacks a parameter. Of other modules it loads what is
    there, as it does with the biases that it trains.
    """
    targets = {t.name for t in adapter.targets}
    names = set(adapter.replacements)
    modules = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    return sorted(m for m in modules - targets if f"{m}.bias" in names)


def _tensors(adapter: Adapter) -> dict[str, Array]:
    targets = {t.name: adapter.coefficients(t) for t in adapter.targets}
    tensors = {f"{KEY_PREFIX}{name}{SPECTRUM_SUFFIX}": c for name, c in targets.items()}
    for name, array in adapter.replacements.items():
        module, _, parameter = name.rpartition(".")
        joined = f"{module}{BASE_LAYER}{parameter}" if module in targets else name
        tensors[KEY_PREFIX + joined] = array
    return tensors


def _pretty(config: dict[str, Any]) -> str:
    import json

    return json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _remove(directory: Path) -> None:
    """Remove a directory of ours that did not become whole."""
    for name in (MODEL_FILE, CONFIG_FILE):
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _reason(where: str, problem: str, got: str | None = None) -> Violation:
    advice = "merge it into the base instead (--to onnx)"
    return Violation("E-PEFT-INEXPRESSIBLE", where, problem, got, advice=advice)
