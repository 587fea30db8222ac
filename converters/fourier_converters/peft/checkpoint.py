"""A PEFT checkpoint as it lies on disk: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.peft.methods import CONFIG_FILE, METHODS, Method
from fourier_format import strict_json
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.errors import InvalidAdapterError, UsageError, Violation

MODEL_FILE: Final = "adapter_model.safetensors"
KEY_PREFIX: Final = "base_model.model."
BASE_LAYER: Final = ".base_layer."
_WRAPPER: Final = re.compile(r"\.(modules_to_save|original_module)\.")
"""With bias="all", PEFT writes the biases of a saved module's wrapper beside the module's own."""


@dataclass(frozen=True, slots=True, eq=False)
class PeftCheckpoint:
    """What one adapter's directory holds.

    Attributes:
        path: The directory.
        method: Which of PEFT's methods made it.
        config_text: adapter_config.json, verbatim.
        config: The same, parsed.
        spectra: Module path -> (n,) coefficients.
        replacements: Parameter name -> tensor, of modules_to_save and of trained biases.
        whole: Whether all of the checkpoint is here, so that its config describes it.
    """

    path: Path
    method: Method
    config_text: str
    config: Mapping[str, Any]
    spectra: Mapping[str, Array]
    replacements: Mapping[str, Array]
    whole: bool = True


def read_checkpoint(path: str | os.PathLike[str], adapter: str | None = None) -> PeftCheckpoint:
    """Returns the checkpoint in the directory `path`, or in its subfolder `adapter`.

    Raises:
        InvalidAdapterError: E-PEFT-CONFIG: it is no FourierFT or WaveFT checkpoint of PEFT.
        UsageError: There are several adapters and `adapter` chooses none of them.
        FileAccessError: A file cannot be read.
    """
    path = Path(path)
    directory = _adapter_directory(path, adapter)
    text = _config_text(directory / CONFIG_FILE)
    config = strict_json.loads(text, str(directory / CONFIG_FILE))
    if not isinstance(config, dict):
        _fail(directory / CONFIG_FILE, "not a JSON object")
    method = _method(config.get("peft_type"), directory / CONFIG_FILE)
    spectra, replacements = _read_tensors(directory, method)
    return PeftCheckpoint(directory, method, text, config, spectra, replacements)


def without(checkpoint: PeftCheckpoint, skipped: AbstractSet[str]) -> PeftCheckpoint:
    """Returns the checkpoint without the modules and parameters of these names."""
    return replace(
        checkpoint,
        spectra={k: v for k, v in checkpoint.spectra.items() if k not in skipped},
        replacements={k: v for k, v in checkpoint.replacements.items() if k not in skipped},
        whole=checkpoint.whole and not skipped,
    )


def natural_order(name: str) -> list[tuple[int, str]]:
    """Returns a sort key that puts layer 10 after layer 9."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


def _adapter_directory(path: Path, adapter: str | None) -> Path:
    folders = sorted(_named_adapters(path))
    if adapter is not None:
        if adapter in folders:
            return path / adapter
        listed = ", ".join(folders) or "none"
        problem = f"there is no adapter {adapter!r} in this checkpoint"
        raise UsageError(Violation("E-USAGE", str(path), problem, expected=f"one of: {listed}"))
    if (path / CONFIG_FILE).is_file():
        return path
    if folders:
        advice = f"choose one of them with --adapter: {', '.join(folders)}"
        raise UsageError(Violation("E-USAGE", str(path), "several named adapters", advice=advice))
    return _fail(path, f"the directory has no {CONFIG_FILE}")


def _named_adapters(path: Path) -> Iterator[str]:
    with os_errors(path, "read"):
        yield from (child.parent.name for child in path.glob(f"*/{CONFIG_FILE}"))


def _config_text(path: Path) -> str:
    """Returns the file's text as it is, line ends included."""
    with os_errors(path, "read"):
        data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _fail(path, "not UTF-8")


def _method(peft_type: Any, path: Path) -> Method:
    if not isinstance(peft_type, str) or peft_type not in METHODS:
        known = " or ".join(repr(name) for name in METHODS)
        _fail(path, "neither a FourierFT nor a WaveFT adapter", repr(peft_type), known)
    return METHODS[peft_type]


def _read_tensors(directory: Path, method: Method) -> tuple[dict[str, Array], dict[str, Array]]:
    path = directory / MODEL_FILE
    if not path.exists() and (directory / "adapter_model.bin").exists():
        advice = "load it in PEFT and save it again with save_pretrained"
        problem = "adapter_model.bin is a pickle, which is not read because it can run code"
        raise InvalidAdapterError(
            Violation("E-PEFT-CONFIG", str(directory), problem, advice=advice)
        )
    file = SafetensorsFile(path)
    spectra: dict[str, Array] = {}
    replacements: dict[str, Array] = {}
    keys = frozenset(file.names)
    for key in sorted(keys, key=natural_order):
        if not key.startswith(KEY_PREFIX):
            _fail(path, f"a tensor that PEFT's {method.name} does not write", repr(key))
        name = key.removeprefix(KEY_PREFIX)
        if name.endswith(method.suffix):
            spectra[name.removesuffix(method.suffix)] = file.tensor(key)
        elif not _is_second_copy(key, keys):
            plain = name.replace(BASE_LAYER, ".")
            if plain in replacements:
                _fail(path, "two tensors for one parameter", repr(plain))
            replacements[plain] = file.tensor(key)
    if not spectra:
        _fail(path, f"no tensor ends in {method.suffix}", ", ".join(file.names[:3]))
    return spectra, replacements


def _is_second_copy(key: str, keys: frozenset[str]) -> bool:
    plain = _WRAPPER.sub(".", key)
    return plain != key and plain in keys


def _fail(
    path: Path, problem: str, got: str | None = None, expected: str | None = None
) -> NoReturn:
    raise InvalidAdapterError(Violation("E-PEFT-CONFIG", str(path), problem, got, expected))
