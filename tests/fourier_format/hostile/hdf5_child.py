"""Reads broken .fft.h5 files under limits; run by `test_hdf5_mutations`, because it may crash.

    python -m tests.fourier_format.hostile.hdf5_child

Takes one JSON job a line on stdin, {"kind": "random" | "flip", "number": n}, and answers each with
a line of JSON before it takes the next, so that the parent knows at which one it died.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import warnings

import h5py  # noqa: F401 -- before the memory is limited

import fourier_format
from fourier_format import manifest
from fourier_format.containers import hdf5
from fourier_format.document import Document
from fourier_format.errors import FourierFormatError
from tests.fourier_format import minimal, samples
from tests.fourier_format.hostile.fft_child import limit_memory
from tests.fourier_format.mutate import mutated_bytes

SECONDS = 10
"""For one file; a reader that loops inside libhdf5 is ended by the alarm."""


def documents() -> list[Document]:
    """Return the contents of the files that are broken."""
    return [minimal.document(), manifest.to_document(samples.adapter())]


def broken(kind: str, number: int, files: list[bytes]) -> tuple[int, bytes]:
    """Return which file was broken, and the file."""
    if kind == "flip":
        data = bytearray(files[0])
        data[number // 8] ^= 1 << number % 8
        return 0, bytes(data)
    rng = random.Random(number)
    which = rng.randrange(len(files))
    return which, mutated_bytes(files[which], rng)


def answer(data: bytes, digest: str) -> str:
    """Return "refused", "same" where the content is unharmed, or what is wrong."""
    try:
        adapter = fourier_format.from_bytes(data)
    except FourierFormatError:
        return "refused"
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it is what we look for
        return f"{type(error).__name__}: {error}"
    found = manifest.to_document(adapter).digest()
    return "same" if found == digest else "accepted with another content"


def main() -> None:
    warnings.simplefilter("error")
    known = documents()
    files = [hdf5.encode(document) for document in known]
    digests = [document.digest() for document in known]
    for data in files:
        fourier_format.from_bytes(data)  # what is imported late is imported before the limit
    limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if [answer(*pair) for pair in zip(files, digests, strict=True)] != ["same", "same"]:
        sys.exit("the unbroken files cannot be read under these limits")
    for line in sys.stdin:
        job = json.loads(line)
        which, data = broken(job["kind"], job["number"], files)
        signal.alarm(SECONDS)
        said = answer(data, digests[which])
        signal.alarm(0)
        print(json.dumps(said), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
