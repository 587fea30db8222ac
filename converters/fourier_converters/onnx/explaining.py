"""Explains a search: what was considered, what was chosen and why, as a map file to begin with."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fourier_converters.base.inputs import refuse_base
from fourier_converters.mapping import Map
from fourier_converters.naming import module_names
from fourier_converters.onnx.candidates import Candidate, Candidates, node_name
from fourier_converters.onnx.matching import has_fingerprint, match_target
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.replacing import match_replacement
from fourier_converters.onnx.uses import unopened
from fourier_format.adapter import Adapter, Target
from fourier_format.atomic import write_bytes
from fourier_format.errors import FourierFormatError

_MOST: Final = 24
"""Candidates that are listed for one target."""


def explain(
    adapter: Adapter, base: str | os.PathLike[str], mapping: Map | None = None
) -> dict[str, Any]:
    """Returns a map of everything that `adapter` changes in the ONNX model at `base`.

    What was found is stated as nodes, so that the map gives the same again. What was not found has
    an explanation only: the user fills in the node.

    Raises:
        UnsupportedError: The base is not an ONNX model, or breaks a rule.
        FileAccessError: The base cannot be read.
    """
    return _explained(adapter, Model(Path(base)), mapping or Map())


def write_explanation(
    adapter: Adapter,
    base: Path,
    output: Path,
    *,
    mapping: Map,
    overwrite: bool,
) -> None:
    """Write what `explain` returns as a JSON file, whole or not at all.

    Raises:
        UsageError: E-USAGE: `output` is the base or holds some of its weights.
        OutputExistsError: It is there, and `overwrite` is false.
        UnsupportedError: The base is not an ONNX model, or breaks a rule.
        FileAccessError: The base cannot be read, or the file cannot be written.
    """
    refuse_base(output, base)
    text = json.dumps(explain(adapter, base, mapping), indent=2, ensure_ascii=False)
    write_bytes(output, f"{text}\n".encode(errors="replace"), overwrite)


def _explained(adapter: Adapter, model: Model, mapping: Map) -> dict[str, Any]:
    candidates = Candidates(model, module_names(adapter))
    targets = {t.name: _target(adapter, t, candidates, mapping) for t in adapter.targets}
    replacements = {
        name: _replacement(name, adapter, candidates, mapping) for name in adapter.replacements
    }
    hidden = unopened(model)
    if hidden:
        for entry in targets.values():
            entry["explanation"]["not looked into"] = hidden
    return {"targets": targets} | ({"replacements": replacements} if replacements else {})


def _target(
    adapter: Adapter, target: Target, candidates: Candidates, mapping: Map
) -> dict[str, Any]:
    entry = mapping.target(target.name)
    if entry.skip:
        return {"skip": True, "explanation": {"why": "the map says so"}}
    considered = [
        _considered(adapter, target, c, candidates)
        for c in candidates.of_kind(target.kind, target.shape)[:_MOST]
    ]
    try:
        match = match_target(adapter, target, candidates, entry)
    except FourierFormatError as error:
        return {"explanation": {"problem": str(error), "considered": considered}}
    why = " + ".join(match.evidence)
    return _places(match.uses, candidates.model) | {
        "explanation": {"why": why, "considered": considered}
    }


def _replacement(
    name: str, adapter: Adapter, candidates: Candidates, mapping: Map
) -> dict[str, Any]:
    entry = mapping.replacement(name)
    if entry.skip:
        return {"skip": True, "explanation": {"why": "the map says so"}}
    said = {} if entry.layout is None else {"layout": entry.layout}
    try:
        found = match_replacement(name, adapter, candidates, entry)
    except FourierFormatError as error:
        return said | {"explanation": {"problem": str(error)}}
    if found.added:  # a bias that the graph lacks has no use that a map could name
        return {"explanation": {"why": found.evidence}}
    # the node alone could mean its other parameters, too
    tensors = list(dict.fromkeys(c.use.initializer for c in found.uses))
    stated: dict[str, Any] = {"initializer": tensors[0] if len(tensors) == 1 else tensors}
    stated |= _places(found.uses, candidates.model)
    return stated | said | {"explanation": {"why": found.evidence}}


def _places(uses: Sequence[Candidate], model: Model) -> dict[str, Any]:
    nodes = list(dict.fromkeys(node_name(model, c.use) for c in uses))
    entry: dict[str, Any] = {"node": nodes[0] if len(nodes) == 1 else nodes}
    rows = uses[0].rows
    return entry if rows is None else entry | {"rows": list(rows)}


def _considered(
    adapter: Adapter, target: Target, candidate: Candidate, candidates: Candidates
) -> str:
    stated = f"{candidate.module} by {candidate.source}" if candidate.module else "no module path"
    text = f"{node_name(candidates.model, candidate.use)} reads {candidate.place}: {stated}"
    has = has_fingerprint(adapter, target, candidate, candidates)
    if has is None:
        return text
    return f"{text}; {'has' if has else 'has not'} the fingerprint"
