"""Fine-tune SmolLM2-135M on E2E to describe restaurants, and serve it in ONNX Runtime."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from e2e import (
    ROOT,
    Example,
    collated,
    export_base,
    loss_of,
    new_model,
    new_tokenizer,
    of_different_meanings,
    read,
    said_by_onnx,
    said_by_torch,
)
from tqdm import tqdm
from transformers import PreTrainedModel

import fourier_format
from fourier_converters.onnx import to_onnx
from fourier_trainers.torch import FourierConfig, attach, capture, parameter_groups, summary

BATCH = 4
TOLERANCE = 1e-5  # of the largest logit


def main() -> None:
    """Train, save adapter.fft, convert, compare."""
    chosen = options()
    layers = 2 if chosen.small else None
    devset, testset = read(chosen.data, "devset"), read(chosen.data, "testset_w_refs")
    held_out = of_different_meanings(testset, 1 if chosen.small else 64)
    file, base, merged = (chosen.out / f for f in ("adapter.fft", "base.onnx", "merged.onnx"))
    tokenizer, model = new_tokenizer(), new_model(layers)
    export_base(model, base)

    config = FourierConfig(target_modules=("q_proj", "v_proj"), n=1000, alpha=300.0)
    attach(model, config)
    print(summary(model))
    before = said(model, tokenizer, held_out)
    print(f"loss on the test set before: {loss_of(model, tokenizer, held_out):.3f}")
    train(model, tokenizer, devset, steps=chosen.steps, lr=chosen.lr)
    print(f"loss on the test set after:  {loss_of(model, tokenizer, held_out):.3f}")

    fourier_format.save(capture(model), file, overwrite=True)
    to_onnx(fourier_format.load(file), base, merged, overwrite=True)
    print(f"{file.name}: {file.stat().st_size / 1000:.1f} kB")
    show(model, tokenizer, held_out, before, merged)


def options() -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared, help="folder that has e2e/devset.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "examples" / "e2e" / "out")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=2e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="two layers, two steps: it runs")
    chosen = parser.parse_args()
    if chosen.small:
        chosen.steps = 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    random.seed(chosen.seed)
    return chosen


def train(
    model: PreTrainedModel, tokenizer: Any, examples: list[Example], *, steps: int, lr: float
) -> None:
    """Train the coefficients, on `steps` batches drawn from `examples`."""
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=lr), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, max(steps, 2), pct_start=0.06)
    model.train()
    for _ in (bar := tqdm(range(steps), unit="step")):
        loss = model(**collated(tokenizer, random.sample(examples, BATCH))).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


def said(model: PreTrainedModel, tokenizer: Any, examples: list[Example]) -> list[str]:
    """Returns what the model says of the first two."""
    return [said_by_torch(model, tokenizer, example.meaning) for example in examples[:2]]


def show(
    model: PreTrainedModel, tokenizer: Any, examples: list[Example], before: list[str], merged: Path
) -> None:
    """Print samples, and how far ONNX Runtime is from torch."""
    session = onnxruntime.InferenceSession(merged, providers=["CPUExecutionProvider"])
    after = said(model, tokenizer, examples)
    for example, old, new in zip(examples, before, after, strict=False):
        same = said_by_onnx(session, tokenizer, example.meaning) == new
        print(f"\n{example.meaning}\n  before: {old}\n  after:  {new}")
        print(f"  ONNX Runtime says {'the same' if same else 'SOMETHING ELSE'}")

    batch = collated(tokenizer, examples[:4])
    told = batch.pop("attention_mask").bool()
    with torch.no_grad():
        theirs = model(batch["input_ids"], attention_mask=told.long()).logits[told].numpy()
    fed = {"input_ids": batch["input_ids"].numpy(), "attention_mask": told.long().numpy()}
    ours = np.asarray(session.run(None, fed)[0])[told.numpy()]
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    agreement = float((ours.argmax(1) == theirs.argmax(1)).mean())
    print(f"\nsame next token: {100 * agreement:.1f} % of {len(ours)}", end="; ")
    print(f"largest difference of logits: {error:.1e}")
    if error > TOLERANCE:
        raise SystemExit(f"the merged model differs from torch by more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
