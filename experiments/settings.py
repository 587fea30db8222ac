"""Reads configs/NAME.toml: a table for each size, each on top of [common]."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from experiments.trial import Json, merged

SIZES = ("smoke", "small", "medium", "paper")
_CONFIGS = Path(__file__).parent / "configs"
Settings = TypeVar("Settings")


def table(name: str, size: str) -> Json:
    """Returns the settings of one experiment at one size.

    Raises:
        SystemExit: The experiment has no such size.
    """
    path = _CONFIGS / f"{name}.toml"
    tables = tomllib.loads(path.read_text("utf-8"))
    if size not in tables:
        there = ", ".join(found for found in SIZES if found in tables)
        raise SystemExit(f"{name} has no size {size!r}; configs/{path.name} has: {there}")
    return merged(tables.get("common", {}), tables[size])


def settings(kind: type[Settings], name: str, size: str, **changes: Any) -> Settings:
    """Returns the settings as `kind`, a dataclass; `changes` that are not None win.

    Raises:
        SystemExit: The file names a field that `kind` has not, or leaves one out.
    """
    values = table(name, size) | {key: value for key, value in changes.items() if value is not None}
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # any dataclass
    unknown = sorted(values.keys() - known)
    if unknown:
        raise SystemExit(f"configs/{name}.toml, [{size}]: unknown: {', '.join(unknown)}")
    try:
        return kind(**values)
    except TypeError as wrong:
        raise SystemExit(f"configs/{name}.toml, [{size}]: {wrong}") from wrong
