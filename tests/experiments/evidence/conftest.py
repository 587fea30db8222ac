"""Whole results of a size that no model gave."""

from __future__ import annotations

import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.evidence.evidence import Evidence, collected
from tests.experiments.evidence.synthetic import SKILL, fill


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("results")
    for name in ("glue", "further", "curves", "bias", "bases"):
        fill(folder, EXPERIMENTS[name], "small", SKILL)
    return collected(folder)[0]
