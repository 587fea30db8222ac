"""Reads ten thousand broken .fft files under a memory limit; run by `test_mutations`.

    python -m tests.fourier_format.hostile.fft_child FIRST LAST

Prints one line of JSON: how many were accepted, the codes, and what should not have happened.
"""

from __future__ import annotations

import collections
import json
import random
import resource
import sys
import warnings

import fourier_format
from fourier_format import manifest, strict_json, validation
from fourier_format.document import Document
from fourier_format.errors import InvalidAdapterError
from tests.fourier_format import minimal, samples
from tests.fourier_format.mutate import mutated_fft

HEADROOM = 64 * 2**20
"""Memory beyond what the process has after its imports: thousands of times a file's size."""


def limit_memory() -> None:
    """Let this process have no more than HEADROOM on top of what it has."""
    pages = int(open("/proc/self/statm", encoding="ascii").read().split()[0])  # noqa: SIM115, PTH123
    limit = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def trouble_with(data: bytes) -> str | None:
    """Return what is wrong with how `data` is read, a code in brackets, or None if it is valid."""
    try:
        adapter = fourier_format.from_bytes(data)
    except InvalidAdapterError as error:
        return f"[{error.code}]"
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it is what we look for
        return f"{type(error).__name__}: {error}"
    document = manifest.to_document(adapter)
    if validation.schema_violations(strict_json.loads(document.manifest, "child")):
        return "accepted against the JSON Schema"
    for target in adapter.targets:
        entries = adapter.entry_set(target).entries
        inside = (entries >= 0).all() and (entries < target.shape).all()
        if not inside or len({tuple(pair) for pair in entries.tolist()}) != len(entries):
            return "accepted entries that are no entries"
    return None


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("error")
    documents: list[Document] = [minimal.document(), manifest.to_document(samples.adapter())]
    validation.schema_violations({})
    limit_memory()
    codes: collections.Counter[str] = collections.Counter()
    wrong = []
    for seed in range(first, last):
        rng = random.Random(seed)
        trouble = trouble_with(mutated_fft(rng.choice(documents), rng))
        codes[trouble or "valid"] += 1
        if trouble is not None and not trouble.startswith("["):
            wrong.append(f"seed {seed}: {trouble}")
    print(json.dumps({"codes": codes, "wrong": wrong}))  # noqa: T201


if __name__ == "__main__":
    main()
