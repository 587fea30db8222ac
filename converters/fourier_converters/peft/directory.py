"""A PEFT checkpoint's directory, whatever the sort of adapter in it: config and tensors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fourier_converters.peft.checkpoint import BASE_LAYER, KEY_PREFIX, MODEL_FILE
from fourier_converters.peft.methods import CONFIG_FILE
from fourier_format import strict_json
from fourier_format.adapter import Adapter, Array
from fourier_format.atomic import os_errors, refuse_existing, staged
from fourier_format.containers.safetensors import encode_plain
from fourier_format.errors import InvalidAdapterError, Violation

_METADATA: Final = {"format": "pt"}


def write_checkpoint(
    directory: Path, config: str, tensors: Mapping[str, Array], *, overwrite: bool = False
) -> None:
    """Write the text of adapter_config.json, and adapter_model.safetensors.

    Raises:
        OutputExistsError: `directory` exists and `overwrite` is false.
        FileAccessError: Writing failed.
    """
    data = encode_plain(tensors, _METADATA)
    refuse_existing(directory, overwrite)
    created = not directory.exists()
    try:
        with os_errors(directory, "write"):
            directory.mkdir(exist_ok=True)
        with staged(directory / CONFIG_FILE, overwrite=True) as config_file:
            config_file.write(config.encode())
            config_file.flush()  # a full disk shows before the tensors take their name
            with staged(directory / MODEL_FILE, overwrite=True) as model_file:
                model_file.write(data)
    except BaseException:
        if created:
            _remove(directory)
        raise


def config_text(config: Mapping[str, Any]) -> str:
    """Returns a config as PEFT writes it."""
    return json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def origin_text(adapter: Adapter) -> str | None:
    """Returns the PEFT config that the adapter came from, None where it came from elsewhere."""
    origin = adapter.origin or {}
    return str(origin.get("text")) if origin.get("format") == "peft" else None


def parsed(text: str) -> dict[str, Any]:
    """Returns an origin's config.

    Raises:
        InvalidAdapterError: It is not JSON, or not an object.
    """
    config = strict_json.loads(text, "origin")
    if not isinstance(config, dict):
        raise InvalidAdapterError(Violation("E-PEFT-CONFIG", "origin", "not a JSON object"))
    return config


def saved_modules(adapter: Adapter, origin: Mapping[str, Any]) -> Any:
    """Returns `modules_to_save`: as the origin's config has it, else what was replaced whole.

    That is the modules outside the targets with weight and bias: PEFT fails to load a saved module
    that lacks a parameter. Of other modules it loads what is there, as it does with the biases that
    it trains.
    """
    if "modules_to_save" in origin:
        return origin["modules_to_save"]
    targets = {t.name for t in adapter.targets}
    names = set(adapter.replacements)
    modules = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    return sorted(m for m in modules - targets if f"{m}.bias" in names) or None


def replacement_tensors(adapter: Adapter) -> dict[str, Array]:
    """Returns the replacements by the names that they have in adapter_model.safetensors."""
    targets = {t.name for t in adapter.targets}
    tensors = {}
    for name, array in adapter.replacements.items():
        module, _, parameter = name.rpartition(".")
        joined = f"{module}{BASE_LAYER}{parameter}" if module in targets else name
        tensors[KEY_PREFIX + joined] = array
    return tensors


def _remove(directory: Path) -> None:
    """Remove a directory of ours that did not become whole."""
    for name in (MODEL_FILE, CONFIG_FILE):
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()
