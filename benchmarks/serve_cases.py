"""What `serve.py` serves: models, batches, the files of each model. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

SIZES: Final = (200, 1000)
"""Coefficients a target."""

ALPHA: Final = 150.0
RANK: Final = 8
SEED: Final = 0


class Model(NamedTuple):
    """A base; `real` has all-MiniLM-L6-v2's weights, the others random ones.

    `precision` is onnxruntime-genai's, of a Llama: the graph is its builder's. A Bert is exported
    by dynamo.
    """

    family: str
    width: int
    feedforward: int
    layers: int
    heads: int
    vocabulary: int
    precision: str = "fp32"
    real: bool = False

    @property
    def targets(self) -> tuple[str, str]:
        return ("query", "value") if self.family == "bert" else ("q_proj", "v_proj")


class Case(NamedTuple):
    """What one batch of a model's is: `past` tokens of each row are in its cache."""

    model: str
    rows: int
    tokens: int
    past: int = 0


MODELS: Final[Mapping[str, Model]] = {
    "minilm": Model("bert", 384, 1536, 6, 12, 30522, real=True),
    "bert_base": Model("bert", 768, 3072, 12, 12, 30522),
    # four layers of a model of that width: all layers are alike
    "llama_float32": Model("llama", 2048, 5632, 4, 16, 512),
    "llama_int4": Model("llama", 2048, 5632, 4, 16, 512, "int4"),
}

CASES: Final[Mapping[str, Case]] = {
    "minilm_32x64": Case("minilm", 32, 64),
    "minilm_1x16": Case("minilm", 1, 16),
    "bert_base_16x64": Case("bert_base", 16, 64),
    "llama_float32_32x1": Case("llama_float32", 32, 1, past=32),
    "llama_int4_32x1": Case("llama_int4", 32, 1, past=32),
}


def model_of(name: str, *, smoke: bool = False) -> Model:
    """The model, or one so small that it only tries the script."""
    model = MODELS[name]
    if not smoke:
        return model
    return model._replace(width=32, feedforward=64, layers=2, heads=2, vocabulary=97, real=False)


def case_of(name: str, *, smoke: bool = False) -> Case:
    """The case, or fewer and shorter rows."""
    case = CASES[name]
    if not smoke:
        return case
    return case._replace(rows=min(case.rows, 4), tokens=min(case.tokens, 6), past=min(case.past, 3))


def sizes_of(*, smoke: bool = False) -> tuple[int, ...]:
    """The numbers of coefficients; a tiny weight has few entries to choose from."""
    return tuple(n // 10 for n in SIZES) if smoke else SIZES


class Files(NamedTuple):
    """The files of one model, all in one folder, so that graphs can share the base's data."""

    folder: Path

    @property
    def base(self) -> Path:
        return self.folder / "base.onnx"

    @property
    def lora(self) -> Path:
        return self.folder / "lora.onnx"

    def adapter(self, n: int) -> Path:
        return self.folder / f"adapter-{n}.fft"

    def merged(self, n: int) -> Path:
        return self.folder / f"merged-{n}.onnx"

    def requantized(self, n: int) -> Path:
        return self.folder / f"requantized-{n}.onnx"

    def live(self, n: int) -> Path:
        return self.folder / f"live-{n}.onnx"

    def optimised(self, path: Path) -> Path:
        """What ONNX Runtime makes of a graph when it opens it, saved."""
        return self.folder / f"{path.stem}-optimised.onnx"


def files_of(work: Path, model: str, *, smoke: bool = False) -> Files:
    """The model's place in the folder of all."""
    return Files(work / (f"{model}-smoke" if smoke else model))


LABELS: Final[Mapping[str, str]] = {
    "base": "base",
    "merged": "merged, n = 1000",
    "merged_requantized": "merged and requantised, n = 1000",
    "live_nothing": "live, nothing fed",
    "live_one_200": "live, one adapter for all rows, n = 200",
    "live_one_1000": "live, one adapter for all rows, n = 1000",
    "live_rows_200": "live, an adapter for each row, n = 200",
    "live_rows_1000": "live, an adapter for each row, n = 1000",
    "session_rows_1000": "the same through AdapterSession, by names",
    "lora_one": "LoRA r = 8, one adapter for all rows",
    "lora_rows": "LoRA r = 8, an adapter for each row, one Run a row",
    "lora_two_sessions": "the same, two sessions of one thread",
    "open_merged": "a session opened for each row",
    "open_optimised": "the same, optimised beforehand",
}
"""The arms; a session for each row is one row's time, times the rows."""

_OF_SEVERAL_ROWS: Final = {
    *("live_rows_200", "live_rows_1000", "session_rows_1000", "lora_rows", "lora_two_sessions")
}


def arms_of(case: Case, model: Model, chosen: Sequence[str]) -> list[str]:
    """The chosen arms that say something new of a case; the base is always the first."""
    left = set(_OF_SEVERAL_ROWS) if case.rows == 1 else set()
    if model.precision != "int4":
        left.add("merged_requantized")
    return ["base", *(arm for arm in LABELS if arm in chosen and arm not in left | {"base"})]
