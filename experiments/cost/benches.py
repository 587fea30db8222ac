"""Modules of benchmarks/, typed: they lie beside one another, import each other by bare names."""

from __future__ import annotations

import sys

from experiments.records import ROOT

sys.path.append(str(ROOT.parent / "benchmarks"))  # last: no name of theirs hides another

import file_size
import forms_graphs
import serve_arms
import serve_cases
import serve_lora

__all__ = ["file_size", "forms_graphs", "serve_arms", "serve_cases", "serve_lora"]
