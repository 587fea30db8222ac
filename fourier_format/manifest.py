"""Adapter <-> Document: the one place that knows which field is which (spec, clause 5)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from fourier_format import canonical, limits, meaning, strict_json, structure
from fourier_format.adapter import (
    Adapter,
    Array,
    EntrySet,
    Fingerprints,
    Sampling,
    Target,
    read_only,
)
from fourier_format.document import Document
from fourier_format.errors import InvalidAdapterError, Violation
from fourier_format.recent import Recent


def to_document(adapter: Adapter) -> Document:
    """Returns the manifest's text and the tensors of `adapter`.

    Raises:
        InvalidAdapterError: The adapter breaks a rule of the format; all are listed.
    """
    fields = _manifest(adapter)
    try:
        text = strict_json.dumps(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidAdapterError(list(_unwritable(fields))) from error
    _refuse_clashes(adapter)
    document = Document(text, _tensors(adapter))
    check(document, "adapter")
    return document


def from_document(document: Document, where: str) -> Adapter:
    """Returns the Adapter that a container's content stands for.

    Args:
        document: The content.
        where: The file's name, for errors.

    Raises:
        InvalidAdapterError: The content breaks a rule of the format; all are listed.
    """
    return _adapter(_check(document, where), document.tensors)


def check(document: Document, where: str) -> None:
    """Check every rule of the format.

    Raises:
        InvalidAdapterError: The `document` breaks some; all are listed.
    """
    _check(document, where)


class _Read(NamedTuple):
    """A parsed manifest that keeps the rules.

    Attributes:
        fields: The manifest.
        targets: Its targets, of which each adapter gets copies; empty where some have extensions.
    """

    fields: dict[str, Any]
    targets: tuple[Target, ...]


_Layout = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]

READ: Final[Recent[tuple[str, _Layout], _Read]] = Recent()
"""By the manifest's text and what the tensors are, but for their values: all that those rules ask
that need not be asked of the next adapter of this layout."""


def _check(document: Document, where: str) -> _Read:
    text, tensors = document.manifest, document.tensors
    layout = tuple((name, array.dtype, array.shape) for name, array in tensors.items())
    read = READ.get((text, layout))
    if read is not None:
        found = list(
            itertools.islice(meaning.of_values(read.fields, tensors), limits.MAX_VIOLATIONS)
        )
    else:
        fields: dict[str, Any] = strict_json.loads(text, f"{where}, manifest")
        found = structure.violations(fields) or meaning.violations(fields, tensors)
    if found:
        raise InvalidAdapterError(_located(found, where))
    if read is None:
        targets = tuple(_target(target) for target in fields["targets"])
        extended = any(target.extensions for target in targets)
        read = _Read(fields, () if extended else targets)
        READ.put((text, layout), read, len(text) + sum(len(name) for name in tensors))
    return read


def _refuse_clashes(adapter: Adapter) -> None:
    """Refuse extensions that would take the place of what the format defines.

    Raises:
        InvalidAdapterError: E-FIELD-VALUE.
    """
    prints = [s.fingerprints for s in adapter.entry_sets if s.fingerprints is not None]
    recipes = [s.sampling for s in adapter.entry_sets if s.sampling is not None]
    extended: list[tuple[structure.Record, Sequence[Any]]] = [
        (structure.MANIFEST, [adapter]),
        (structure.ENTRY_SET, adapter.entry_sets),
        (structure.SAMPLING, recipes),
        (structure.FINGERPRINTS, prints),
        (structure.TARGET, adapter.targets),
    ]
    found = [
        Violation("E-FIELD-VALUE", f"extensions.{key}", "an extension has the name of a field")
        for record, owners in extended
        for owner in owners
        for key in owner.extensions
        if key in record.fields
    ]
    found += [
        Violation("E-FIELD-VALUE", name, 'an extension\'s tensor has a name outside "extensions/"')
        for name in adapter.extension_tensors
        if not name.startswith("extensions/")
    ]
    if found:
        raise InvalidAdapterError(found)


def _located(found: list[Violation], where: str) -> list[Violation]:
    return [
        Violation(v.code, f"{where}, {v.where}", v.problem, v.got, v.expected, v.advice)
        for v in found
    ]


def _unwritable(fields: Mapping[str, Any]) -> Iterator[Violation]:
    for name, value in fields.items():
        try:
            strict_json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            yield Violation("E-FIELD-TYPE", name, f"cannot be written as JSON: {error}")


def _present(fields: Mapping[str, Any], extensions: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that are not None, then the extensions."""
    known = {key: value for key, value in fields.items() if value is not None}
    return known | dict(extensions)


def _manifest(adapter: Adapter) -> dict[str, Any]:
    modules = adapter.target_modules
    fields = {
        "format": structure.FORMAT,
        "version": adapter.version,
        "transform": adapter.transform,
        "alpha": canonical.number(adapter.alpha),
        "seed": canonical.seed(adapter.seed),
        "target_modules": list(modules) if isinstance(modules, tuple) else modules,
        "base_model": _object(adapter.base_model),
        "producer": _object(adapter.producer),
        "labels": None if adapter.labels is None else list(adapter.labels),
        "entries": [_entry_set_json(s) for s in adapter.entry_sets],
        "targets": [_target_json(t) for t in adapter.targets],
        "replacements": list(adapter.replacements) or None,
        "origin": _object(adapter.origin),
        "metadata": _object(adapter.metadata),
    }
    return _present(fields, adapter.extensions)


def _object(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)


def _entry_set_json(entry_set: EntrySet) -> dict[str, Any]:
    sampling, prints = entry_set.sampling, entry_set.fingerprints
    fields = {
        "id": entry_set.id,
        "shape": [canonical.whole(size) for size in entry_set.shape],
        "count": entry_set.count,
        "sampling": None if sampling is None else _sampling_json(sampling),
        "fingerprints": None
        if prints is None
        else _present({"dtype": prints.dtype}, prints.extensions),
    }
    return _present(fields, entry_set.extensions)


def _sampling_json(sampling: Sampling) -> dict[str, Any]:
    fields = {
        "method": sampling.method,
        "generator": sampling.generator,
        "seed": canonical.seed(sampling.seed),
        "parameters": {k: canonical.number(v) for k, v in sampling.parameters.items()} or None,
    }
    return _present(fields, sampling.extensions)


def _target_json(target: Target) -> dict[str, Any]:
    fields = {
        "name": target.name,
        "kind": target.kind,
        "shape": [canonical.whole(size) for size in target.shape],
        "entries": target.entries,
        "row": canonical.whole(target.row),
        "alpha": canonical.number(target.alpha),
    }
    return _present(fields, target.extensions)


def _tensors(adapter: Adapter) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    for entry_set in adapter.entry_sets:
        tensors[f"entries/{entry_set.id}"] = entry_set.entries
        tensors[f"coefficients/{entry_set.id}"] = entry_set.coefficients
        if entry_set.fingerprints is not None:
            for part in ("samples", "norm", "sha256"):
                array = getattr(entry_set.fingerprints, part)
                tensors[f"fingerprints/{entry_set.id}/{part}"] = array
    tensors.update({f"replacements/{n}": a for n, a in adapter.replacements.items()})
    tensors.update(adapter.extension_tensors)
    return tensors


def _adapter(read: _Read, tensors: Mapping[str, Array]) -> Adapter:
    manifest = read.fields
    modules = manifest.get("target_modules")
    labels = manifest.get("labels")
    return Adapter(
        version=manifest["version"],
        transform=manifest["transform"],
        alpha=manifest["alpha"],
        seed=_seed(manifest),
        target_modules=tuple(modules) if isinstance(modules, list) else modules,
        base_model=_copied(manifest.get("base_model")),
        producer=_copied(manifest.get("producer")),
        labels=None if labels is None else tuple(labels),
        entry_sets=tuple(_entry_set(s, tensors) for s in manifest["entries"]),
        targets=tuple(map(_own, read.targets)) or tuple(_target(t) for t in manifest["targets"]),
        replacements={
            name: read_only(tensors[f"replacements/{name}"])
            for name in manifest.get("replacements", [])
        },
        origin=_copied(manifest.get("origin")),
        metadata=_copied(manifest.get("metadata")),
        extensions=_extensions(manifest, structure.MANIFEST),
        extension_tensors={
            n: read_only(a) for n, a in tensors.items() if n.startswith("extensions/")
        },
    )


def _copied(value: Any) -> Any:
    """Returns JSON of one's own, so that who changes it does not change the next adapter's."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _extensions(fields: dict[str, Any], record: structure.Record) -> dict[str, Any]:
    if record.fields.issuperset(fields):
        return {}
    return {key: _copied(value) for key, value in fields.items() if key not in record.fields}


def _seed(fields: dict[str, Any]) -> int | None:
    return meaning.seed_value(fields["seed"]) if "seed" in fields else None


def _shape(fields: dict[str, Any]) -> tuple[int, int]:
    out, in_ = fields["shape"]
    return int(out), int(in_)


def _entry_set(fields: dict[str, Any], tensors: Mapping[str, Array]) -> EntrySet:
    prints = None
    if "fingerprints" in fields:
        parts = {
            part: tensors[f"fingerprints/{fields['id']}/{part}"]
            for part in ("samples", "norm", "sha256")
        }
        inner = fields["fingerprints"]
        prints = Fingerprints(
            dtype=inner["dtype"], **parts, extensions=_extensions(inner, structure.FINGERPRINTS)
        )
    return EntrySet(
        id=fields["id"],
        shape=_shape(fields),
        entries=tensors[f"entries/{fields['id']}"],
        coefficients=tensors[f"coefficients/{fields['id']}"],
        sampling=_sampling(fields["sampling"]) if "sampling" in fields else None,
        fingerprints=prints,
        extensions=_extensions(fields, structure.ENTRY_SET),
    )


def _sampling(fields: dict[str, Any]) -> Sampling:
    return Sampling(
        method=fields["method"],
        generator=fields.get("generator"),
        seed=_seed(fields),
        parameters=_copied(fields.get("parameters", {})),
        extensions=_extensions(fields, structure.SAMPLING),
    )


def _own(target: Target) -> Target:
    """Returns a target without extensions as one that can be given some, of this adapter alone."""
    return Target(
        name=target.name,
        kind=target.kind,
        shape=target.shape,
        entries=target.entries,
        row=target.row,
        alpha=target.alpha,
    )


def _target(fields: dict[str, Any]) -> Target:
    return Target(
        name=fields["name"],
        kind=fields["kind"],
        shape=_shape(fields),
        entries=fields["entries"],
        row=int(fields["row"]),
        alpha=fields.get("alpha"),
        extensions=_extensions(fields, structure.TARGET),
    )
