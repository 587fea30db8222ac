"""What an adapter holds, in short: a dictionary for `--json`, and the same for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fourier_format import limits, words
from fourier_format.adapter import Adapter, Array, EntrySet
from fourier_format.command_line import table
from fourier_format.dtypes import dtype_name
from fourier_format.errors import one_line
from fourier_format.manifest import to_document
from fourier_format.transforms import delta_norms

LORA_RANK: Final = 8
_TEXT_WIDTH: Final = 100


def summary(adapter: Adapter, file_bytes: int) -> dict[str, Any]:
    """Returns what a valid `adapter`, of `file_bytes` in its file, holds; plain JSON."""
    return {
        "version": adapter.version,
        "transform": adapter.transform,
        "alpha": adapter.alpha,
        "base_model": _plain(adapter.base_model),
        "producer": _plain(adapter.producer),
        "origin": None if adapter.origin is None else adapter.origin["format"],
        "target_modules": adapter.target_modules,
        "labels": adapter.labels,
        "extensions": list(adapter.extensions),
        "targets": _targets(adapter),
        "entry_sets": [_entry_set(adapter, s) for s in adapter.entry_sets],
        "replacements": [_replacement(n, a) for n, a in adapter.replacements.items()],
        "coefficients": sum(s.coefficients.size for s in adapter.entry_sets),
        "size": _size(adapter, file_bytes),
        "lora": _lora(adapter, file_bytes),
    }


def _targets(adapter: Adapter) -> dict[str, Any]:
    norms = {s.id: delta_norms(adapter, s) for s in adapter.entry_sets}
    return {
        "count": len(adapter.targets),
        "kinds": dict(Counter(t.kind for t in adapter.targets)),
        "shapes": dict(Counter(words.shape(t.shape) for t in adapter.targets)),
        "list": [
            {
                "name": t.name,
                "kind": t.kind,
                "shape": t.shape,
                "entries": t.entries,
                "row": t.row,
                "alpha": adapter.alpha_of(t),
                "delta_norm": float(norms[t.entries][t.row]) * abs(adapter.alpha_of(t)),
            }
            for t in adapter.targets
        ],
    }


def _entry_set(adapter: Adapter, entry_set: EntrySet) -> dict[str, Any]:
    drawn = entry_set.sampling
    seed = adapter.seed if drawn is None or drawn.seed is None else drawn.seed
    return {
        "id": entry_set.id,
        "shape": entry_set.shape,
        "n": entry_set.count,
        "targets": entry_set.coefficients.shape[0],
        "dtype": dtype_name(entry_set.coefficients.dtype),
        "method": None if drawn is None else drawn.method,
        "generator": None if drawn is None else drawn.generator,
        "parameters": {} if drawn is None else dict(drawn.parameters),
        "seed": str(seed) if seed is not None and seed > limits.MAX_SAFE_INTEGER else seed,
        "recipe": words.recipe(entry_set, adapter.seed),
        "fingerprints": entry_set.fingerprints is not None,
    }


def _replacement(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": array.shape, "dtype": dtype_name(array.dtype)}


def _size(adapter: Adapter, file_bytes: int) -> dict[str, Any]:
    payload = sum(array.nbytes for array in to_document(adapter).tensors.values())
    share = payload / file_bytes
    return {"bytes": file_bytes, "payload_bytes": payload, "payload_share": round(share, 4)}


def _lora(adapter: Adapter, file_bytes: int) -> dict[str, Any]:
    """LoRA on the same targets in the same dtypes; replacements, needed by both, count in none."""
    parameters = stored = coefficients = 0
    for entry_set in adapter.entry_sets:
        targets = entry_set.coefficients.shape[0]
        rank_8 = LORA_RANK * sum(entry_set.shape) * targets
        parameters += rank_8
        stored += rank_8 * entry_set.coefficients.itemsize
        coefficients += entry_set.coefficients.size
    own = file_bytes - sum(array.nbytes for array in adapter.replacements.values())
    return {
        "rank": LORA_RANK,
        "parameters": parameters,
        "bytes": stored,
        "parameter_share": round(coefficients / parameters, 4),
        "byte_share": round(own / stored, 4),
    }


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)


def as_text(found: Mapping[str, Any], name: str) -> str:
    """Returns a `summary` for people; `name` is the file's. Control characters are escaped."""
    method = "FourierFT" if found["transform"] == "dft2" else found["transform"]
    lines = [one_line(f"{name}: {method} adapter, format {found['version']}"), ""]
    facts = [(key, words.shortened(one_line(value), _TEXT_WIDTH)) for key, value in _facts(found)]
    width = max(len(key) for key, _ in facts)
    lines += [f"{key:<{width}}  {value}" for key, value in facts]
    header = ("entries", "shape", "targets", "n", "dtype", "drawn by")
    rows = [
        (s["id"], words.shape(s["shape"]), str(s["targets"]), str(s["n"]), s["dtype"], s["recipe"])
        for s in found["entry_sets"]
    ]
    lines += ["", table(header, [[one_line(cell) for cell in row] for row in rows])]
    if found["replacements"]:
        rows_of_tensors = [
            (one_line(r["name"]), words.shape(r["shape"]), r["dtype"])
            for r in found["replacements"]
        ]
        lines += ["", table(("replacement", "shape", "dtype"), rows_of_tensors)]
    return "\n".join(lines)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("base_model", "producer"):
        if found[key]:
            text = ", ".join(f"{k} {v}" for k, v in found[key].items())
            yield key.replace("_", " "), text
    if found["origin"] is not None:
        yield "origin", found["origin"]
    yield "transform", found["transform"]
    yield "alpha", _alpha(found)
    yield "targets", _target_words(found["targets"])
    yield "coefficients", f"{found['coefficients']:,}"
    yield "delta norm", _norms(found["targets"]["list"])
    if found["labels"]:
        yield "labels", f"{len(found['labels'])}: {', '.join(found['labels'])}"
    if found["extensions"]:
        yield "extensions", ", ".join(found["extensions"])
    with_prints = sum(s["targets"] for s in found["entry_sets"] if s["fingerprints"])
    yield "fingerprints", f"of {with_prints} base weights" if with_prints else "none"
    size = found["size"]
    yield "file", f"{size['bytes']:,} bytes, {100 * size['payload_share']:.1f}% of them payload"
    lora = found["lora"]
    share, bytes_share = 100 * lora["parameter_share"], 100 * lora["byte_share"]
    text = f"{share:.3g}% of its {lora['parameters']:,} parameters, {bytes_share:.3g}% of its bytes"
    yield f"LoRA r={lora['rank']}", text


def _alpha(found: Mapping[str, Any]) -> str:
    own = sum(t["alpha"] != found["alpha"] for t in found["targets"]["list"])
    more = f" ({own} of the targets have another)" if own else ""
    return words.number(found["alpha"]) + more


def _target_words(targets: Mapping[str, Any]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in targets["kinds"].items())
    shapes = ", ".join(f"{count} of {shape}" for shape, count in targets["shapes"].items())
    return f"{targets['count']}: {kinds}; {shapes}"


def _norms(targets: list[dict[str, Any]]) -> str:
    ordered = sorted(targets, key=lambda t: float(t["delta_norm"]))
    least, most = ordered[0], ordered[-1]
    if len(ordered) == 1:
        return f"{most['delta_norm']:.3g} ({most['name']})"
    low, high = (f"{t['delta_norm']:.3g} ({t['name']})" for t in (least, most))
    return f"{low} to {high}"
