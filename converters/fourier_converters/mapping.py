"""The map file: what the user knows better than any evidence (docs/map.md has its description)."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from fourier_format import strict_json
from fourier_format.atomic import os_errors
from fourier_format.errors import InvalidAdapterError, UsageError, Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class MapEntry:
    """What the map says of one target or replacement.

    Attributes:
        weight: The name of a tensor in a safetensors or Keras base.
        initializers: The names of ONNX initializers; all their uses are meant.
        nodes: The names of ONNX nodes, of their first outputs where they have none.
        rows: Of a packed weight the rows (out) that are meant, the end excluded.
        layout: "out_in" or "in_out", as the base stores it.
        skip: Leave it out of the result.
    """

    weight: str | None = None
    initializers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    rows: tuple[int, int] | None = None
    layout: str | None = None
    skip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A map file's content.

    Attributes:
        targets: By target name.
        replacements: By replacement name.
        layout: How the base stores every weight without a layout of its own.
    """

    targets: Mapping[str, MapEntry] = field(default_factory=dict)
    replacements: Mapping[str, MapEntry] = field(default_factory=dict)
    layout: str | None = None

    def target(self, name: str) -> MapEntry:
        """Returns what the map says of the target `name`; an empty entry for silence."""
        return self.targets.get(name, MapEntry())

    def replacement(self, name: str) -> MapEntry:
        """Returns what the map says of the replacement `name`."""
        return self.replacements.get(name, MapEntry())

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of targets and replacements that are left out."""
        entries = [*self.targets.items(), *self.replacements.items()]
        return tuple(name for name, entry in entries if entry.skip)

    def check_fields(self, onnx: bool, path: str) -> None:
        """Refuse fields that mean nothing for the base's kind, or nothing without another.

        Raises:
            UsageError: E-MAP.
        """
        for_graphs = {"initializers": "initializer", "nodes": "node", "rows": "rows"}
        unusable = {"weight": "weight"} if onnx else for_graphs
        kind = "an ONNX base" if onnx else "a base of whole tensors"
        found = []
        for part, entries in (("targets", self.targets), ("replacements", self.replacements)):
            for name, entry in entries.items():
                where = f"{path}, {part}.{name}"
                found += [
                    Violation("E-MAP", f"{where}.{key}", f"means nothing for {kind}")
                    for field_name, key in unusable.items()
                    if getattr(entry, field_name)
                ]
                if onnx and entry.rows and not (entry.nodes or entry.initializers):
                    problem = "says nothing without a node or an initializer"
                    found.append(Violation("E-MAP", f"{where}.rows", problem))
        if found:
            raise UsageError(found)

    def check_names(
        self, targets: Collection[str], replacements: Collection[str], path: str
    ) -> None:
        """Refuse names that the adapter does not have: they are spelling mistakes.

        Raises:
            UsageError: E-MAP.
        """
        unknown = [
            *(f"targets.{name}" for name in self.targets if name not in targets),
            *(f"replacements.{name}" for name in self.replacements if name not in replacements),
        ]
        if unknown:
            problem = "the adapter has nothing of this name"
            advice = "fourier-format inspect shows the names"
            raise UsageError(
                [Violation("E-MAP", f"{path}, {name}", problem, advice=advice) for name in unknown]
            )


def read_map(path: str | os.PathLike[str]) -> Map:
    """Returns the map in the file at `path`, checked by schema/map-1.0.schema.json.

    Raises:
        UsageError: It is not a valid map; all problems are listed.
        FileAccessError: It cannot be read.
    """
    path = Path(path)
    with os_errors(path, "read"):
        text = path.read_text("utf-8", "replace")
    try:
        value = strict_json.loads(text, str(path))
    except InvalidAdapterError as error:
        (violation,) = error.violations
        raise UsageError(Violation("E-MAP", violation.where, violation.problem)) from None
    _check(value, path)
    return Map(
        targets={name: _entry(entry) for name, entry in value.get("targets", {}).items()},
        replacements={name: _entry(entry) for name, entry in value.get("replacements", {}).items()},
        layout=value.get("layout"),
    )


def _entry(value: dict[str, Any]) -> MapEntry:
    """Returns the entry; what `--explain` wrote of its reasons is for people."""

    def names(key: str) -> tuple[str, ...]:
        given = value.get(key, [])
        return (given,) if isinstance(given, str) else tuple(given)

    first, end = value.get("rows", (0, 0))
    return MapEntry(
        weight=value.get("weight"),
        initializers=names("initializer"),
        nodes=names("node"),
        rows=(first, end) if "rows" in value else None,
        layout=value.get("layout"),
        skip=value.get("skip", False),
    )


def map_schema() -> dict[str, Any]:
    """Returns the JSON Schema of map files."""
    text = resources.files(__package__).joinpath("schema/map-1.0.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _check(value: Any, path: Path) -> None:
    import jsonschema

    errors = jsonschema.Draft202012Validator(map_schema()).iter_errors(value)
    found = [
        Violation("E-MAP", f"{path}, {error.json_path}", error.message[:200]) for error in errors
    ]
    if found:
        raise UsageError(found)
