"""Results on disk: one JSON an experiment and size, with the versions that made each trial.

Trials of one file are sorted by label, one a line, so that a run that adds some changes few lines.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from experiments import code
from experiments.trial import Json, Trial, described, key

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
_PACKAGES = (
    "fourier-format", "torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai", "onnx",
    "numpy", "scipy", "scikit-learn", "sacrebleu", "nltk", "rouge-score",
    "bitsandbytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One finished trial.

    Attributes:
        key: The trial's key.
        label: The trial's label.
        work: What its time is comparable with.
        steps: How many steps it took.
        trial: Its fields.
        result: What `run` gave.
        seconds: Wall time of all its runs together, with everything that is computed once; of a run
            that was killed, up to its last step.
        environment: Versions and machine.
    """

    key: str
    label: str
    work: str
    steps: int
    trial: Json
    result: Json
    seconds: float
    environment: Json


def record(trial: Trial, result: Json, seconds: float, environment: Json) -> Record:
    """Returns the record of a trial that has just ended."""
    return Record(
        key(trial), trial.label, trial.work, trial.steps, described(trial), result,
        round(seconds, 3), environment,
    )  # fmt: skip


def environment(trial: Trial, device: str, threads: int) -> Json:
    """Returns with what a trial that begins now runs.

    The day, the versions of all that computes, the machine without its name, the code.
    """
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": _device_name(device),
        "versions": dict(_versions()),
        "code": code.digest(trial),
    }


@functools.cache
def _versions() -> Mapping[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _device_name(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return str(torch.cuda.get_device_name())


class Book:
    """All results of one size: those that are committed, and those of this machine's folder."""

    def __init__(self, size: str, folder: Path = RESULTS) -> None:
        self._folder = folder / size
        self._found: dict[str, Record] = {}
        for path in sorted(self._folder.glob("*.json")):
            self._found |= {found.key: found for found in read(path)}

    def get(self, trial: Trial) -> Json | None:
        """Returns the trial's result; None if it has not run."""
        found = self._found.get(key(trial))
        return None if found is None else found.result

    def record(self, trial: Trial) -> Record | None:
        """Returns the trial's record; None if it has not run."""
        return self._found.get(key(trial))

    def add(self, found: Record) -> None:
        """Remember a record."""
        self._found[found.key] = found

    def __iter__(self) -> Iterator[Record]:
        return iter(self._found.values())

    def forget(self, label: str, work: Path, planned: Iterable[Trial] = ()) -> list[str]:
        """Take trials whose label holds `label` out of all files, and what they left in `work`.

        Those `planned` that have not ended lose their checkpoints, too.

        Returns:
            Their labels.
        """
        labels = {key(trial): trial.label for trial in planned}
        labels |= {found.key: found.label for found in self}
        gone = {name: found for name, found in labels.items() if label in found}
        for path in sorted(self._folder.glob("*.json")):
            write(path, [found for found in read(path) if found.key not in gone])
        for name in gone:
            self._found.pop(name, None)
            shutil.rmtree(work / name, ignore_errors=True)
        return sorted(gone.values())

    def write(self, experiment: str, trials: Iterable[Trial]) -> Path:
        """Write what is known of `trials` as the experiment's JSON, whole or not at all."""
        keys = {key(trial) for trial in trials}
        chosen = [found for known, found in self._found.items() if known in keys]
        path = self._folder / f"{experiment}.json"
        write(path, chosen)
        return path


def read(path: Path) -> list[Record]:
    """Returns the records of one file."""
    content = json.loads(path.read_text("utf-8"))
    environments = content["environments"]
    return [
        Record(**{**fields, "environment": environments[fields["environment"]]})
        for fields in content["trials"]
    ]


def write(path: Path, records: Iterable[Record]) -> None:
    """Write `records` to `path`: the same records give the same bytes."""
    environments = {}
    lines = []
    for found in sorted(records, key=lambda found: (found.label, found.key)):
        name = hashlib.sha256(_line(found.environment).encode()).hexdigest()[:8]
        environments[name] = found.environment
        lines.append(_line({**_fields(found), "environment": name}))
    above = ",\n  ".join(f'"{name}": {_line(environments[name])}' for name in sorted(environments))
    text = f'{{"environments": {{\n  {above}\n}},\n"trials": [\n' + ",\n".join(lines) + "\n]}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _fields(found: Record) -> Json:
    return {name: getattr(found, name) for name in Record.__dataclass_fields__}


def _line(value: Json) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
