"""Fixtures: an attack in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.attack import Attack
from tests.fourier_converters.command import Captured


@pytest.fixture
def attack(tmp_path: Path, capsys: Captured) -> Attack:
    return Attack(tmp_path, capsys)
