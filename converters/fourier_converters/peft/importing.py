"""PEFT checkpoint + base -> Adapter.

PEFT stores neither the entries nor the shapes: the shapes come from the base, the entries from
the seed by torch's own draw, re-implemented in fourier_format.sampling. The formulas and the
orientation are PEFT's, which are the format's (peft 0.21.2, tuners/fourierft/layer.py and
tuners/waveft/layer.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from fourier_converters.base.protocol import Base, BaseWeight
from fourier_converters.peft.checkpoint import PeftCheckpoint
from fourier_converters.peft.methods import frequencies_of, is_proportional, transform_of
from fourier_format import __version__, limits, sampling
from fourier_format.adapter import Adapter, Array, Sampling
from fourier_format.assembly import Piece, assemble
from fourier_format.dtypes import COEFFICIENT_DTYPES, dtype_name
from fourier_format.errors import FourierFormatError, InvalidAdapterError, Violation, raise_all
from fourier_format.fingerprint import fingerprint

Found = Callable[[str, str], None]
"""Told the name of each target and where in the base its weight was found."""


def from_peft(checkpoint: PeftCheckpoint, base: Base, found: Found | None = None) -> Adapter:
    """Returns the adapter that `checkpoint` stands for on `base`, with fingerprints of the base.

    Args:
        checkpoint: From `read_checkpoint`.
        base: From `open_base`; must be the model that the adapter was trained on.
        found: Called with each target's name and the place of its weight.

    Raises:
        InvalidAdapterError: The config and the tensors contradict each other.
        TargetNotFoundError: The base lacks a weight, or has several that could be meant.
        UnsupportedError: Nothing says how the base stores a weight, or no transform of the format
            is what the checkpoint does.
    """
    config = checkpoint.config
    seed, alpha = _seed(checkpoint), _alpha(checkpoint)
    transform = transform_of(config, f"{checkpoint.path}")
    entries = functools.cache(functools.partial(_entries, seed))
    pieces, failures = list[Piece](), list[FourierFormatError]()
    for module, coefficients in checkpoint.spectra.items():
        try:
            weight = base.weight(module, checkpoint.replacements.get(f"{module}.weight"))
            shape = _shape(module, coefficients, weight, checkpoint)
            drawn = entries(shape, coefficients.size)
            pieces.append(_piece(module, coefficients, weight, drawn))
        except FourierFormatError as error:
            failures.append(error)
            continue
        if found is not None:
            found(module, weight.source)
    raise_all(failures)
    entry_sets, targets = assemble(pieces)
    modules = config.get("target_modules") if checkpoint.whole else [p.name for p in pieces]
    return Adapter(
        alpha=alpha,
        transform=transform,
        seed=seed,
        target_modules=tuple(modules) if isinstance(modules, list) else modules,
        base_model=_base_model(config, base),
        producer={"name": "fourier-format", "version": __version__},
        entry_sets=entry_sets,
        targets=targets,
        replacements=dict(checkpoint.replacements),
        origin={"format": "peft", "text": checkpoint.config_text} if checkpoint.whole else None,
    )


def _shape(
    module: str, coefficients: Array, weight: BaseWeight, checkpoint: PeftCheckpoint
) -> tuple[int, int]:
    """Returns the (out, in) of a layer whose coefficients are as the config says."""
    where = f"{checkpoint.path}, {module}"
    dtype = dtype_name(coefficients.dtype)
    if coefficients.ndim != 1 or dtype not in COEFFICIENT_DTYPES:
        got = f"{dtype} {coefficients.shape}"
        raise _bad(where, "not a list of coefficients", got, "(n,) of F32, F16 or BF16")
    n = frequencies_of(module, checkpoint.config)
    if coefficients.size != n and not is_proportional(checkpoint.config):
        problem = "the number of coefficients is not the config's n_frequency for this module"
        raise _bad(where, problem, str(coefficients.size), str(n))
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    if coefficients.size > shape[0] * shape[1]:
        problem = f"more coefficients than the base's weight {weight.source} has values"
        raise _bad(where, problem, str(coefficients.size), f"at most {shape[0] * shape[1]}")
    return shape


def _piece(module: str, coefficients: Array, weight: BaseWeight, entries: Array) -> Piece:
    shape = (weight.matrix.shape[0], weight.matrix.shape[1])
    return Piece(
        name=module,
        kind="linear",
        shape=shape,
        entries=entries,
        coefficients=coefficients,
        sampling=_recipe(shape),
        fingerprint=fingerprint(weight.matrix, weight.source),
    )


def _entries(seed: int, shape: tuple[int, int], count: int) -> Array:
    return sampling.draw(shape, count, _recipe(shape), seed)


def _recipe(shape: tuple[int, int]) -> Sampling:
    return Sampling(method="torch-randperm", generator=sampling.torch_generator(shape))


def _seed(checkpoint: PeftCheckpoint) -> int:
    seed = checkpoint.config.get("random_loc_seed", 777)
    if type(seed) is not int or not 0 <= seed <= limits.MAX_SEED:
        raise _bad(f"{checkpoint.path}", "random_loc_seed is not a seed", repr(seed), "an integer")
    return seed


def _alpha(checkpoint: PeftCheckpoint) -> float:
    scaling = checkpoint.config.get("scaling", checkpoint.method.scaling)
    if isinstance(scaling, bool) or not isinstance(scaling, int | float):
        raise _bad(f"{checkpoint.path}", "scaling is not a number", repr(scaling))
    return scaling


def _base_model(config: Mapping[str, Any], base: Base) -> dict[str, str] | None:
    stated = {"name": config.get("base_model_name_or_path"), "revision": config.get("revision")}
    known = {key: value for key, value in stated.items() if isinstance(value, str) and value}
    return base.description | known or None


def _bad(
    where: str, problem: str, got: str | None = None, expected: str | None = None
) -> InvalidAdapterError:
    return InvalidAdapterError(Violation("E-PEFT-CONFIG", where, problem, got, expected))
