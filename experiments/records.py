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
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from experiments import code
from experiments.locking import lock_of, locked
from experiments.trial import Experiment, Json, Options, Trial, described, key

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
    """All results of one size: those that are committed, and those of this machine's folder.

    Other processes may write the same files: what they have found is taken over at each writing.
    """

    def __init__(self, size: str, folder: Path = RESULTS) -> None:
        self._folder = folder / size
        self._found: dict[str, Record] = {}
        self._new: set[str] = set()  # keys of what no file holds yet
        self._forgotten: set[str] = set()  # keys; another process may know them still
        for path in self._paths():
            self._learn(path)

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
        self._new.add(found.key)
        self._forgotten.discard(found.key)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._found.values())

    def holders(self, keys: Collection[str]) -> dict[str, list[str]]:
        """Returns for each key that a file holds the experiments whose files do."""
        held: defaultdict[str, list[str]] = defaultdict(list)
        for path in self._paths():
            for found in read(path):
                if found.key in keys:
                    held[found.key].append(path.stem)
        return dict(held)

    def forget(self, keys: Collection[str]) -> None:
        """Take the records of these keys out of all files."""
        for path in self._paths():
            with locked(lock_of(path)):
                write(path, [found for found in read(path) if found.key not in keys])
        for name in keys:
            self._found.pop(name, None)
        self._new.difference_update(keys)
        self._forgotten.update(keys)

    def write(self, experiment: Experiment, options: Options) -> Path:
        """Write what is known of the experiment's trials, if anything, as its JSON, whole.

        What another process has written there in the meantime stays, and is known from now on.
        """
        path = self._folder / f"{experiment.name}.json"
        with locked(lock_of(path)):
            if path.exists():
                self._learn(path)
            planned = {key(trial) for trial in experiment.plan(options, self).trials}
            found = [found for name, found in self._found.items() if name in planned]
            if found or path.exists():  # a run in which all has failed leaves nothing
                write(path, found)
        self._new -= planned
        return path

    def _learn(self, path: Path) -> None:
        """Take over what a file holds, but what is newer here."""
        newer = self._new | self._forgotten
        self._found |= {found.key: found for found in read(path) if found.key not in newer}

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))


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
