"""The container-independent content of a file: the manifest's text and the named arrays.

Containers turn bytes into a Document and back; `manifest` turns a Document's parts into an
Adapter. The digest (spec, clause 4.3) is over the Document, so it is the same in .fft and .fft.h5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fourier_format.adapter import Array
from fourier_format.dtypes import dtype_name, little_endian_bytes
from fourier_format.errors import InvalidAdapterError, Violation


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """What both containers carry.

    Attributes:
        manifest: The manifest as JSON text, exactly as stored.
        tensors: The arrays by name.
    """

    manifest: str
    tensors: Mapping[str, Array]

    def digest(self) -> str:
        """Returns the lower-case hex SHA-256 of the content (spec, clause 4.3)."""
        lines = ["fourier-format digest 1", f"manifest\t{_sha256(self.manifest.encode())}"]
        for name in sorted(self.tensors, key=str.encode):
            array = self.tensors[name]
            dims = ",".join(str(d) for d in array.shape)
            digest = _sha256(little_endian_bytes(array))
            lines.append(f"tensor\t{name}\t{dtype_name(array.dtype)}\t{dims}\t{digest}")
        return _sha256("".join(line + "\n" for line in lines).encode())


def check_digest(document: Document, stated: object, where: str) -> None:
    """Compare the `stated` digest with the document's, as text.

    Raises:
        InvalidAdapterError: E-DIGEST.
    """
    computed = document.digest()
    if stated != computed:
        raise InvalidAdapterError(
            Violation(
                "E-DIGEST",
                where,
                "the content was changed after it was written",
                got=f"SHA-256 {computed}",
                expected=str(stated)[:80],
                advice="copy or download the file again",
            )
        )


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
