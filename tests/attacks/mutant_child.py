"""Merges into broken copies of a real .onnx under a memory limit; run by `test_mutations`.

    python -m tests.attacks.mutant_child FOLDER FIRST LAST

Prints one line of JSON: how often each outcome came, and what should not have happened.
"""

from __future__ import annotations

import collections
import contextlib
import io
import json
import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fourier_converters.cli import main as convert
from fourier_converters.onnx.loading import merge_at_load
from fourier_format.errors import FourierFormatError
from tests.attacks.attack import WHOLE, W, contents
from tests.fourier_converters.adapters import save
from tests.fourier_converters.graphs import model, save_external
from tests.fourier_format.hostile.fft_child import limit_memory
from tests.fourier_format.mutate import mutated_bytes

TEXT = """
    g (float[N, 32] x) => (float[N, 48] y, float[N, 48] z) {
        t = Transpose <perm = [1, 0]> (v)
        s = Reshape (t, shape)
        [q] y = MatMul (x, s)
        d = DequantizeLinear <axis = 1> (codes, scale, zero)
        [k] p = MatMul (x, d)
        [n] z = Add (p, bias)
    }
"""
ODD_NUMBERS = [0, 1, -1, 2, 3, 31, 32, 33, 2**31 - 1, 2**31, 2**63 - 1, -(2**63), 7, 10, 16]
ODD_TEXTS = ["", "w", "v", "x", "y", "..", "/", "\0", "\n", "location", "999999999999", "-1", "É"]


def base(path: Path) -> Path:
    arrays = {
        "v": W,
        "shape": np.array([32, 48], np.int64),
        "codes": np.random.default_rng(0).integers(-99, 99, (32, 48)).astype(np.int8),
        "scale": np.full(48, 0.01, np.float32),
        "zero": np.zeros(48, np.int8),
        "bias": np.ones(48, np.float32),
    }
    proto = model(TEXT, arrays, {"q": "q", "k": "k"})
    return save_external(proto, path)


def mutated_fields(message: Any, rng: random.Random) -> None:
    """Change one field of a protobuf message, at any depth."""
    fields = list(message.ListFields())
    if not fields:
        return
    field, value = rng.choice(fields)
    repeated = hasattr(value, "append") or hasattr(value, "add")
    if repeated and rng.randrange(4) == 0:
        action = rng.randrange(3)
        index = rng.randrange(len(value))
        if action == 0:
            del value[index]
        elif action == 1:
            value.extend([value[index]])
        else:
            items = list(value)
            rng.shuffle(items)
            message.ClearField(field.name)
            getattr(message, field.name).extend(items)
        return
    chosen = rng.choice(list(value)) if repeated else value
    if hasattr(chosen, "ListFields"):
        if rng.randrange(20) == 0 and not repeated:
            message.ClearField(field.name)
        else:
            mutated_fields(chosen, rng)
        return
    new: Any = rng.choice(ODD_NUMBERS)
    if isinstance(chosen, str):
        new = rng.choice(ODD_TEXTS)
    elif isinstance(chosen, bytes):
        new = mutated_bytes(chosen, rng)
    with contextlib.suppress(ValueError, TypeError):  # an enum, or too large for 32 bits
        if repeated:
            value[rng.randrange(len(value))] = new
        else:
            setattr(message, field.name, new)


def mutant(content: bytes, rng: random.Random) -> bytes:
    """Returns a model that is broken in its bytes, or in some fields of its protobuf."""
    if rng.randrange(4) == 0:
        return mutated_bytes(content, rng)
    proto = onnx.ModelProto.FromString(content)
    for _ in range(rng.randint(1, 3)):
        mutated_fields(proto, rng)
    changed: bytes = proto.SerializeToString()
    return changed


def merge(source: Path, path: Path, output: Path, rng: random.Random) -> str:
    """Returns the outcome of one merge: "merged", a code in brackets, or what went wrong."""
    mode = rng.choice(
        [[], ["--quantized", "requantize"], ["--external-data", "reference"], ["--live"]]
    )
    output = path.with_name("m.onnx") if "reference" in mode else output
    arguments = [source, "--to", "onnx", "--base", path, "-o", output, "--force", "--quiet", *mode]
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = convert([str(argument) for argument in arguments])
    lines = err.getvalue().splitlines()
    for made in (*path.parent.glob("m.onnx*"), *output.parent.glob("m.onnx*")):
        made.unlink(missing_ok=True)
    if code == 0:
        return "merged"
    sound = code in {1, 2} and all(" error: " in line and line.endswith("]") for line in lines)
    return f"[{lines[0].rpartition('[')[2]}" if lines and sound else f"{code} {err.getvalue()}"


def main() -> None:
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.fsync = lambda _: None  # type: ignore[assignment]  # it takes most of the time
    (folder / "base").mkdir()
    (folder / "out").mkdir()
    path, source = base(folder / "base" / "base.onnx"), save(WHOLE, folder)
    content, output = path.read_bytes(), folder / "out" / "m.onnx"
    found: collections.Counter[str] = collections.Counter()
    found[merge(source, path, output, random.Random(0))] += 1  # everything is imported now
    merge_at_load(WHOLE, path)
    limit_memory()
    warnings.simplefilter("error")
    wrong = []
    for seed in range(first, last):
        rng = random.Random(seed)
        path.write_bytes(mutant(content, rng))
        before = contents(folder)
        try:
            outcome = merge(source, path, output, rng)
            with contextlib.suppress(FourierFormatError):
                merge_at_load(WHOLE, path)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is what we look for
            outcome = f"{type(error).__name__}: {error}"
        found[outcome] += 1
        if outcome != "merged" and not outcome.startswith("["):
            wrong.append(f"seed {seed}: {outcome}")
        if contents(folder) != before:
            wrong.append(f"seed {seed}: left {contents(folder).keys() ^ before.keys()}")
            break
    print(json.dumps({"found": found, "wrong": wrong}))  # noqa: T201


if __name__ == "__main__":
    main()
