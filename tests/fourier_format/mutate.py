"""Changes at random, from a seeded generator: to JSON values, to bytes and to .fft files."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from fourier_format import strict_json
from fourier_format.adapter import Array
from fourier_format.containers import safetensors
from fourier_format.document import Document

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    0.5,
    2**31 - 1,
    2**31,
    2**53 - 1,
    1e300,
    -1e300,
    "",
    "x",
    "\n",
    "a/b",
    "..",
    "18446744073709551616",
    "🙂",
    "x" * 1025,
    [],
    {},
    [[]],
    [1, 2],
    {"must_understand": False},
    {"must_understand": True},
)
ODD_KEYS = ("", "x", "extra", "__metadata__", "fourier_format", "shape", "row", "seed", "a/b")
ODD_TOKENS = (
    "NaN",
    "Infinity",
    "1e999",
    "9007199254740993",
    '"\\ud800"',
    '"\\u0000"',
    "[" * 40 + "]" * 40,
    '{"a":1,"a":2}',
    "\ufeff",
    "'",
    "\\",
    '"',
    " ",
    "-0",
    "1E400",
    "}",
    "nul",
)


def mutated_json(value: Any, rng: random.Random, changes: int = 1) -> Any:
    """Returns a copy of a JSON value with `changes` nodes replaced, removed, doubled or added."""
    holder = [copy.deepcopy(value)]
    for _ in range(changes):
        parent, key = rng.choice(list(_places(holder)))
        action = rng.randrange(5)
        if action == 0 and parent is not holder:
            del parent[key]
        elif action == 1 and isinstance(parent, dict):
            parent[rng.choice(ODD_KEYS)] = copy.deepcopy(parent[key])
        elif action == 2 and isinstance(parent, list) and parent is not holder:
            parent.insert(key, copy.deepcopy(parent[key]))
        elif action == 3:
            other, place = rng.choice(list(_places(holder)))
            parent[key] = copy.deepcopy(other[place])
        else:
            parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return holder[0]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Returns every (container, key) below `value`."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in _places(value[key])]


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Returns `data` after one to four flips, cuts, insertions, repetitions or overwritings."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(result) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 32, 200))
        action = rng.randrange(6)
        if action <= 1 and at < len(result):
            result[at] ^= 1 << rng.randrange(8)
        elif action == 2:
            del result[at : at + size]
        elif action == 3:
            result[at:at] = rng.randbytes(size)
        elif action == 4:
            result[at : at + size] = rng.choice((b"\0", b"\xff", b"\x7f")) * size
        else:
            result[at:at] = result[at : at + size]
    return bytes(result)


def mutated_text(text: str, rng: random.Random) -> str:
    """Returns JSON text with something put in, or in place of something, that parsers dislike."""
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(ODD_TOKENS) + text[at + rng.choice((0, 0, 1, 5)) :]


def mutated_tensors(tensors: dict[str, Array], rng: random.Random) -> dict[str, Array]:
    """Returns tensors of which one is renamed, recast, reshaped, revalued, removed or doubled."""
    changed = dict(tensors)
    name = rng.choice(sorted(changed))
    array = changed.pop(name)
    flat = array.reshape(-1)
    raw = bytearray(array.tobytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    odd = rng.choice((0, 1, -1, 2**31 - 1, float("nan"), float("inf")))
    made: list[Callable[[], dict[str, Array]]] = [
        dict,
        lambda: {name.upper(): array},
        lambda: {name: array, name + "/x": array},
        lambda: {"extensions/" + name: array},
        lambda: {name: array[:1]},
        lambda: {name: flat},
        lambda: {name: array[None]},
        lambda: {name: np.concatenate([array, array])},
        lambda: {name: array.astype(rng.choice((np.float16, np.int64, ml_dtypes.bfloat16)))},
        lambda: {name: np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)},
        lambda: {name: np.full_like(array, np.array(odd, np.float64).astype(array.dtype))},
    ]
    with np.errstate(all="ignore"):
        return changed | rng.choice(made)()


def mutated_fft(document: Document, rng: random.Random) -> bytes:
    """Returns a .fft file that is broken in one layer, those outside of it being right."""
    layer = rng.randrange(5)
    if layer == 0:
        return mutated_bytes(safetensors.encode(document), rng)
    if layer == 1:
        return _mutated_header(safetensors.encode(document), rng)
    text, tensors = document.manifest, dict(document.tensors)
    if layer == 2:
        text = mutated_text(text, rng)
    elif layer == 3:
        fields = strict_json.loads(text, "sample")
        text = strict_json.dumps(mutated_json(fields, rng, rng.randint(1, 3)))
    else:
        tensors = mutated_tensors(tensors, rng)
    return safetensors.encode(Document(text, tensors))


def _mutated_header(data: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].decode()
    if rng.randrange(3):
        header = strict_json.loads(text, "sample")
        text = strict_json.dumps(mutated_json(header, rng, rng.randint(1, 2)))
    else:
        text = mutated_text(text, rng)
    encoded = text.encode() + b" " * (-len(text.encode()) % 8)
    stated = rng.choice((len(encoded),) * 6 + (0, 8, len(encoded) + 8, 2**32, 2**63 - 8, 2**64 - 1))
    return stated.to_bytes(8, "little") + encoded + data[8 + length :]
