"""Adapters altered until PEFT cannot hold them, and the config of one that it can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fourier_converters.peft import to_peft
from fourier_format import Adapter
from tests.fourier_converters.adapters import replaced
from tests.fourier_converters.checkpoints import config


def first_set(whole: Adapter, **fields: Any) -> Adapter:
    first, *others = whole.entry_sets
    result: Adapter = replaced(whole, entry_sets=(replaced(first, **fields), *others))
    return result


def first_target(whole: Adapter, **fields: Any) -> Adapter:
    first, *others = whole.targets
    result: Adapter = replaced(whole, targets=(replaced(first, **fields), *others))
    return result


def with_origin(whole: Adapter, **changed: Any) -> Adapter:
    """Returns the adapter as though it came from a PEFT checkpoint."""
    text = json.dumps(config(**changed), indent=3)
    result: Adapter = replaced(whole, origin={"format": "peft", "text": text})
    return result


def written(whole: Adapter, folder: Path) -> dict[str, Any]:
    """Returns the config that `to_peft` writes."""
    to_peft(whole, folder / "peft")
    found: dict[str, Any] = json.loads((folder / "peft" / "adapter_config.json").read_text("utf-8"))
    return found
