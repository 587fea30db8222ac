"""The methods of PEFT whose checkpoints are read and written: FourierFT and WaveFT.

Both store one list of coefficients for each module and draw the entries by the same torch.randperm
(peft 0.21.2, tuners/fourierft and tuners/waveft). What they make of them is the transform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fourier_format.adapter import TRANSFORMS
from fourier_format.errors import InvalidAdapterError, UnsupportedError, Violation

CONFIG_FILE: Final = "adapter_config.json"
_WAVELET: Final = "dwt2:"
_PEFTS_OWN: Final = "-peft"
"""Ends the registry's name of a wavelet that is PEFT's alone (spec/registry.md, table 1)."""


@dataclass(frozen=True, slots=True)
class Method:
    """One of PEFT's methods.

    Attributes:
        name: What people call it.
        peft_type: What adapter_config.json calls it.
        suffix: How the names of its tensors end.
        scaling: The scale where the config says none.
        n_frequency: The number of coefficients where the config says none.
    """

    name: str
    peft_type: str
    suffix: str
    scaling: float
    n_frequency: int


FOURIERFT: Final = Method("FourierFT", "FOURIERFT", ".fourierft_spectrum", 150.0, 1000)
WAVEFT: Final = Method("WaveFT", "WAVEFT", ".waveft_spectrum", 25.0, 2592)
METHODS: Final[Mapping[Any, Method]] = {m.peft_type: m for m in (FOURIERFT, WAVEFT)}


def method_for(transform: str) -> Method | None:
    """Returns the method that computes `transform`, None where PEFT has none."""
    if transform.startswith(_WAVELET):
        return WAVEFT
    return FOURIERFT if transform == "dft2" else None


def transform_of(config: Mapping[str, Any], where: str) -> str:
    """Returns the transform of the adapter that `config` describes.

    Raises:
        InvalidAdapterError: E-PEFT-CONFIG: a wavelet that PEFT does not compute.
        UnsupportedError: E-CONVERSION-UNSUPPORTED: no transform of the format says this.
    """
    if config.get("peft_type") == FOURIERFT.peft_type:
        return "dft2"
    if config.get("use_idwt", True) is not True:
        problem = "use_idwt is off: its coefficients are cells of the delta, not of a spectrum"
        advice = "merge it in PEFT; no transform of the format stands for it"
        got = repr(config["use_idwt"])
        raise UnsupportedError(
            Violation("E-CONVERSION-UNSUPPORTED", where, problem, got, "true", advice)
        )
    family = config.get("wavelet_family", "db1")
    for name in (f"{_WAVELET}{family}", f"{_WAVELET}{family}{_PEFTS_OWN}"):
        if name in TRANSFORMS and family == family_of(name):
            return name
    known = ", ".join(family_of(name) for name in TRANSFORMS if name.startswith(_WAVELET))
    problem = "a wavelet_family that PEFT 0.21 cannot compute"
    raise InvalidAdapterError(
        Violation("E-PEFT-CONFIG", where, problem, repr(family), f"one of {known}")
    )


def family_of(transform: str) -> str:
    """Returns what PEFT calls the wavelet of a transform."""
    return transform.removeprefix(_WAVELET).removesuffix(_PEFTS_OWN)


def is_proportional(config: Mapping[str, Any]) -> bool:
    """Whether the number of coefficients depends on the sizes of all targets together."""
    return config.get("peft_type") == WAVEFT.peft_type and bool(
        config.get("proportional_parameters")
    )


def proportional_counts(config: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, int]:
    """Returns each module's n, as PEFT 0.21 shares the whole among modules of these sizes.

    That is none where the config has no number to share.
    """
    mean = config.get("n_frequency", WAVEFT.n_frequency)
    if type(mean) is not int:
        return {}
    total, budget = sum(sizes.values()), mean * len(sizes)
    return {name: max(1, round(size / total * budget)) for name, size in sizes.items()}


def frequencies_of(module: str, config: Mapping[str, Any]) -> Any:
    """Returns the n that the config gives to `module`, as PEFT 0.21 resolves it.

    Raises:
        InvalidAdapterError: E-PEFT-CONFIG: the patterns are none.
    """
    pattern = config.get("n_frequency_pattern") or {}
    if not isinstance(pattern, dict):
        raise _bad_pattern("n_frequency_pattern is not an object", repr(pattern))
    for key, value in pattern.items():
        try:
            if re.match(rf".*\.{key}$", module):
                return value
        except re.error as error:
            problem = f"n_frequency_pattern has a bad expression: {error}"
            raise _bad_pattern(problem, key) from None
    usual = METHODS.get(config.get("peft_type"), FOURIERFT).n_frequency
    return pattern.get(module, config.get("n_frequency", usual))


def _bad_pattern(problem: str, got: str) -> InvalidAdapterError:
    where = str(Path(CONFIG_FILE))
    return InvalidAdapterError(Violation("E-PEFT-CONFIG", where, problem, got))
