"""Modules of benchmarks/, typed: they lie beside one another, import each other by bare names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(
    str(Path(__file__).parents[2] / "benchmarks")
)  # last: no name of theirs hides another

import file_size
import forms_graphs
import serve_arms
import serve_cases
import serve_lora

__all__ = ["file_size", "forms_graphs", "serve_arms", "serve_cases", "serve_lora"]
