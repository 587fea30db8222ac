"""Modules of benchmarks/, which lie beside one another and are no package."""

from __future__ import annotations

import sys

from experiments.records import ROOT

sys.path.append(str(ROOT.parent / "benchmarks"))  # last: no name of theirs hides another

import file_size  # noqa: E402
import forms_graphs  # noqa: E402
import serve_arms  # noqa: E402
import serve_cases  # noqa: E402
import serve_lora  # noqa: E402

__all__ = ["file_size", "forms_graphs", "serve_arms", "serve_cases", "serve_lora"]
