"""What a user of fourier-convert asks for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from fourier_format.errors import UsageError, Violation

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of the command line; what is not given is None, False or empty.

    Attributes:
        sources: A .fft, a .fft.h5 or a PEFT directory, each.
        adapters: Further ones, of a live graph.
        to: What is made, one of cli.TARGETS.
        base: The base model.
        output: The result.
        scales: One weight for each source.
        adapter: Which adapter of a PEFT directory.
        map: The file that says where weights lie.
        verify: How far adapted weights are compared with fingerprints.
        quantized: What becomes of targets on quantised weights.
        external_data: Whether the base's data is copied or referenced.
        live: Whether the graph takes coefficients as inputs.
        static: Whether such a graph has no If.
        dry_run: Whether nothing is written.
        explain: Where it is written what was considered, chosen and why.
        rank: Of a LoRA.
        min_energy: What a LoRA keeps of a delta at least.
        force: Whether an output that is there is replaced.
        quiet: Whether nothing but errors is printed.
        json: Whether the report is printed as JSON.
    """

    sources: tuple[Path, ...]
    adapters: tuple[Path, ...]
    to: str
    base: Path | None
    output: Path | None
    scales: Sequence[float] | None
    adapter: str | None
    map: Path | None
    verify: Literal["full"] | None
    quantized: Literal["live", "requantize", "refuse"] | None
    external_data: Literal["copy", "reference"] | None
    live: bool
    static: bool
    dry_run: bool
    explain: Path | None
    rank: int | None
    min_energy: float | None
    force: bool
    quiet: bool
    json: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Request:
        """Returns what parsed arguments ask for."""
        given: dict[str, Any] = {each.name: getattr(arguments, each.name) for each in fields(cls)}
        for name in ("sources", "adapters"):
            given[name] = tuple(given[name])
        return cls(**given)

    @property
    def files(self) -> tuple[Path, ...]:
        """All adapters that are given."""
        return (*self.sources, *self.adapters)

    @property
    def verify_full(self) -> bool:
        """Whether every adapted weight's SHA-256 is compared."""
        return self.verify == "full"

    @property
    def given_base(self) -> Path:
        """The base.

        Raises:
            UsageError: E-USAGE: none was given.
        """
        return self._given("base", self.base)

    @property
    def given_rank(self) -> int:
        """The rank.

        Raises:
            UsageError: E-USAGE: none was given.
        """
        return self._given("rank", self.rank)

    def _given(self, option: str, value: Given | None) -> Given:
        if value is None:
            problem = f"--to {self.to} needs it"
            advice = f"add --{option}"
            raise UsageError(Violation("E-USAGE", f"--{option}", problem, advice=advice))
        return value
