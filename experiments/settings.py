"""Reads configs/NAME.toml: a table for each size, each on top of [common]."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from experiments.trial import Json, merged

SIZES = ("smoke", "small", "medium", "paper")
_CONFIGS = Path(__file__).parent / "configs"
Settings = TypeVar("Settings")


def table(name: str, size: str, model: str | None = None) -> Json:
    """Returns the settings of one experiment at one size.

    A size may hold "for_model": a table for a model, by the last part of its name, that wins where
    `model` is that one.

    Raises:
        SystemExit: The experiment has no such size.
    """
    path = _CONFIGS / f"{name}.toml"
    tables = tomllib.loads(path.read_text("utf-8"))
    if size not in tables:
        there = ", ".join(found for found in SIZES if found in tables)
        raise SystemExit(f"{name} has no size {size!r}; configs/{path.name} has: {there}")
    found = merged(tables.get("common", {}), tables[size])
    own = found.pop("for_model", {})
    if model is None:
        return found
    return merged(found, own.get(Path(model).name, {})) | {"model": model}


def settings(kind: type[Settings], name: str, size: str, model: str | None = None) -> Settings:
    """Returns the settings as `kind`, a dataclass, of the configured model or of another.

    Raises:
        SystemExit: The file names a field that `kind` has not, or leaves one out.
    """
    values = table(name, size, model)
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # any dataclass
    unknown = sorted(values.keys() - known)
    if unknown:
        raise SystemExit(f"configs/{name}.toml, [{size}]: unknown: {', '.join(unknown)}")
    try:
        return kind(**values)
    except TypeError as wrong:
        raise SystemExit(f"configs/{name}.toml, [{size}]: {wrong}") from wrong
