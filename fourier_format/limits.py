"""Limits that a reader enforces before it allocates anything (spec, clause 8)."""

from collections.abc import Sequence
from typing import Final

MAX_HEADER_BYTES: Final = 100_000_000
"""Length of the safetensors header; the same cap as the safetensors library."""

MAX_MANIFEST_BYTES: Final = 16 * 2**20
"""Length of the manifest in UTF-8 bytes."""

MAX_JSON_DEPTH: Final = 32
"""Nesting of objects and arrays."""

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON implementation reads exactly."""

MAX_SEED: Final = 2**64 - 1
"""Seeds above MAX_SAFE_INTEGER are written as decimal strings."""

MAX_DIMENSION: Final = 2**31 - 1
"""Largest output or input width of a target; entries are int32."""

MAX_NAME_LENGTH: Final = 1024
"""Length of a target's or a replacement's name in code points."""

MAX_TARGETS: Final = 65_536
MAX_ENTRY_SETS: Final = 4_096
MAX_TENSOR_RANK: Final = 8

MAX_VIOLATIONS: Final = 1_000
"""How many broken rules are listed; a small file could else ask for gigabytes of them."""


def allow_shape(shape: Sequence[int]) -> bool:
    """Whether a tensor may have this shape."""
    return len(shape) <= MAX_TENSOR_RANK and all(0 < size <= MAX_DIMENSION for size in shape)
