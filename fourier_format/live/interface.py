"""What a live graph says of itself, in its metadata (spec/live-graph-1.0.md, clause 3).

Whoever serves the graph learns from it which adapters it takes and which base it holds, without
opening the base's weights.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from fourier_format import strict_json
from fourier_format.adapter import Array
from fourier_format.errors import InvalidAdapterError, UnsupportedError, Violation
from fourier_format.fingerprint import ROUNDED_NORM, SAMPLES

KEY: Final = "fourier_format.live"
"""The key of the ModelProto's metadata_props."""
VERSION: Final = "1.0"
MAX_BYTES: Final = 2**26
"""Of the JSON text."""


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """The place of one target in a bank: its row, and which weight of the base it adapts.

    Attributes:
        name: The target's name.
        kind: Its kind.
        dtype: The dtype that the base stores, "F32", "F16", "BF16" or "F64"; None if quantised.
        tolerance: The relative error of the samples that quantising explains; 0 where `dtype` is.
        samples: (32,) float32, of the base's canonical matrix (spec, clause 9).
        norm: Its Frobenius norm; None where it is quantised.
    """

    name: str
    kind: str
    dtype: str | None
    tolerance: float
    samples: Array
    norm: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """One input of coefficients: the adapters that share entries are told apart by its first axis.

    Attributes:
        input: The input's name; float32 [rows, L, n], values alpha * c.
        transform: The transform.
        shape: (out, in) of the targets.
        count: The entries, n.
        entries_sha256: Of the entries, int32 little-endian, in lower-case hex.
        seats: The targets, by row; L of them.
    """

    input: str
    transform: str
    shape: tuple[int, int]
    count: int
    entries_sha256: str
    seats: tuple[Seat, ...]

    @property
    def layout(self) -> tuple[int, int]:
        """(L, n): the shape of what one adapter feeds."""
        return len(self.seats), self.count


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One input for a tensor trained beside the adapter: its difference from the base's.

    Attributes:
        name: The replacement's name.
        input: The input's name; float32 [rows, *shape].
        base: What the base has, float32, as the adapter stores it.
    """

    name: str
    input: str
    base: Array

    @property
    def layout(self) -> tuple[int, ...]:
        """The shape of what one adapter feeds."""
        return tuple(self.base.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Interface:
    """Everything that a live graph says of itself.

    Attributes:
        banks: The inputs of coefficients.
        parameters: The inputs of heads and biases.
        static: Whether there is no If: the default is one adapter of zeros.
    """

    banks: tuple[Bank, ...]
    parameters: tuple[Parameter, ...] = ()
    static: bool = False

    @property
    def layouts(self) -> dict[str, tuple[int, ...]]:
        """The shape of what one adapter feeds, by input."""
        of_banks: dict[str, tuple[int, ...]] = {b.input: b.layout for b in self.banks}
        return of_banks | {p.input: p.layout for p in self.parameters}


def entries_digest(entries: Array) -> str:
    """Returns the SHA-256 of (n, 2) entries, in lower-case hex."""
    return hashlib.sha256(np.ascontiguousarray(entries, "<i4").tobytes()).hexdigest()


def input_name(entry_set: str, bank: Bank) -> str:
    """Returns what the input of a bank is called (spec/live-graph-1.0.md, clause 2.1).

    The name ends with what is fed and into which base, so that what was made for one graph, such as
    a .onnx_adapter, is refused by every other.
    """
    said = {key: value for key, value in _of_bank(bank).items() if key != "input"}
    digest = hashlib.sha256(strict_json.dumps(said).encode()).hexdigest()
    return f"fourier.{entry_set}-{digest[:8]}.coefficients"


def to_text(interface: Interface) -> str:
    """Returns the JSON text that a live graph carries."""
    return strict_json.dumps(
        {
            "version": VERSION,
            "static": interface.static,
            "banks": [_of_bank(bank) for bank in interface.banks],
            "parameters": [
                {
                    "name": p.name,
                    "input": p.input,
                    "shape": list(p.base.shape),
                    "base": _encoded(p.base),
                }
                for p in interface.parameters
            ],
        }
    )


def only_text(texts: Sequence[str], where: str) -> str | None:
    """Returns the one of `texts`, what a graph's metadata has under KEY; None where there is none.

    Raises:
        InvalidAdapterError: E-LIVE-INTERFACE: there are several.
    """
    if len(texts) > 1:
        problem, advice = "it describes its live graph twice", "convert the base anew with --live"
        raise InvalidAdapterError(Violation("E-LIVE-INTERFACE", where, problem, advice=advice))
    return texts[0] if texts else None


def from_text(text: str, where: str) -> Interface:
    """Returns the interface that a live graph's JSON text states; `where` names the graph.

    Raises:
        InvalidAdapterError: E-LIVE-INTERFACE or E-JSON-*.
        UnsupportedError: E-VERSION.
    """
    value = strict_json.loads(text, where, MAX_BYTES)
    try:
        if value["version"].split(".")[0] != VERSION.split(".", maxsplit=1)[0]:
            problem = "a live graph of another version"
            raise UnsupportedError(
                Violation("E-VERSION", where, problem, str(value["version"])[:40], VERSION)
            )
        return Interface(
            tuple(_bank(bank) for bank in value["banks"]),
            tuple(
                Parameter(_str(p["name"]), _str(p["input"]), _decoded(p["base"], p["shape"]))
                for p in value["parameters"]
            ),
            _typed(value["static"], bool),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, UnsupportedError):
            raise
        problem = f"its description of the live graph is broken: {type(error).__name__} {error}"
        advice = "convert the base anew with --live"
        raise InvalidAdapterError(
            Violation("E-LIVE-INTERFACE", where, problem, advice=advice)
        ) from None


def _of_bank(bank: Bank) -> dict[str, Any]:
    return {
        "input": bank.input,
        "transform": bank.transform,
        "shape": list(bank.shape),
        "count": bank.count,
        "entries_sha256": bank.entries_sha256,
        "targets": [
            {
                "name": seat.name,
                "kind": seat.kind,
                "dtype": seat.dtype,
                "tolerance": seat.tolerance,
                "samples": _encoded(seat.samples),
                "norm": seat.norm,
            }
            for seat in bank.seats
        ],
    }


def _bank(value: Mapping[str, Any]) -> Bank:
    out, in_ = map(_size, value["shape"])
    seats = tuple(_seat(seat) for seat in value["targets"])
    if not seats:
        raise ValueError("a bank without targets")
    return Bank(
        _str(value["input"]),
        _str(value["transform"]),
        (out, in_),
        _size(value["count"]),
        _str(value["entries_sha256"]),
        seats,
    )


def _seat(value: Mapping[str, Any]) -> Seat:
    norm, dtype = value["norm"], value["dtype"]
    if dtype is not None and (dtype not in ROUNDED_NORM or norm is None):
        raise ValueError(f"dtype {dtype!r}, norm {norm!r}")
    return Seat(
        _str(value["name"]),
        _str(value["kind"]),
        dtype,
        float(value["tolerance"]),
        _decoded(value["samples"], [SAMPLES]),
        None if norm is None else float(norm),
    )


_T = TypeVar("_T", str, int, bool)


def _typed(value: Any, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def _str(value: Any) -> str:
    return _typed(value, str)


def _size(value: Any) -> int:
    if _typed(value, int) < 1:
        raise ValueError(value)
    return int(value)


def _encoded(values: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def _decoded(text: str, shape: list[int]) -> Array:
    shape = [_size(size) for size in shape]
    data = base64.b64decode(text, validate=True)
    if len(data) != 4 * math.prod(shape):
        raise ValueError(shape)
    return np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)
