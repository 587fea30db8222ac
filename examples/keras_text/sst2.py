"""Fine-tune MiniLM on SST-2 in Keras, on any of its backends, and serve it in ONNX Runtime.

Is a sentence out of a film review for or against the film? See README.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime
from minilm import Tokens, backbone, tokenize

import fourier_format
from fourier_converters.onnx import to_onnx
from fourier_trainers.keras import (
    AdapterCallback,
    FourierConfig,
    attach,
    detach,
    export_base,
    load_adapter,
)

HERE = Path(__file__).resolve().parent
LENGTHS = {"train": 32, "dev": 64}  # tokens; 1 in 18 of train is longer, and cut; none of dev is
BATCH = 32
TOLERANCE = 2e-5  # of the largest logit

# Keras's optimizers have one rate. The head takes it as it is; the coefficients move `gain` times
# as fast, which is what FourierFT's rates of 1e-2 to 3e-1 mean beside a head's 1e-3.
CONFIG = FourierConfig(
    target_modules=("query", "value"), n=1000, alpha=150.0, gain=10.0, modules_to_save=("logits",)
)

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reviews:
    """Tokenized sentences, and for each whether it speaks for the film: 1 or 0."""

    tokens: Tokens
    labels: npt.NDArray[np.int32]


def main() -> None:
    """Train, save adapter.fft, convert, compare."""
    chosen = options()
    base, adapter, merged = (chosen.out / f for f in ("base.onnx", "adapter.fft", "merged.onnx"))
    training = read(chosen.data, "train", 64 if chosen.small else chosen.sentences)
    dev = read(chosen.data, "dev", 32 if chosen.small else None)

    model = classifier()
    export_base(
        model, base, overwrite=True
    )  # with a head that knows nothing; it serves every adapter
    attach(model, CONFIG)
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_weights)
    print(f"{count:,} of {model.count_params():,} parameters are trained")
    train(model, training, dev, adapter, epochs=chosen.epochs, lr=chosen.lr)

    detach(model)  # the last epoch's; the callback kept the best one's
    load_adapter(model, adapter)
    to_onnx(fourier_format.load(adapter), base, merged, overwrite=True)
    report(dev, onnx_logits(base, dev), onnx_logits(merged, dev), keras_logits(model, dev))
    print(f"{adapter.name}: {adapter.stat().st_size / 1000:.1f} kB")


def options() -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    shared = HERE.parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared, help="folder that has sst2/train.tsv")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--sentences", type=int, default=4000, help="to train on, of 67349")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-3, help="of the head")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a few sentences: see that it runs")
    chosen = parser.parse_args()
    if chosen.small:
        chosen.epochs = 1
    chosen.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(chosen.seed)
    return chosen


def read(data: Path, split: str, count: int | None) -> Reviews:
    """Returns the first `count` of SST-2's sentences, of "train" or "dev"; all if it is None."""
    path = data / "sst2" / f"{split}.tsv"
    if not path.exists():
        message = (
            f"{path} is missing: give the folder of SST-2's .tsv files with --data (README.md)"
        )
        raise SystemExit(message)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        chosen = list(islice(rows, count))
    tokens = tokenize([row["sentence"] for row in chosen], length=LENGTHS[split])
    return Reviews(tokens, np.array([int(row["label"]) for row in chosen], np.int32))


def classifier() -> Any:
    """Returns MiniLM with a fresh head upon the mean of its tokens, which it was pretrained for."""
    encoder = backbone()
    states = encoder(encoder.input)["sequence_output"]
    mean = keras.layers.GlobalAveragePooling1D(name="mean")
    pooled = mean(states, mask=encoder.input["padding_mask"])
    logits = keras.layers.Dense(2, name="logits")(pooled)
    return keras.Model(encoder.input, logits, name="reviews")


def train(
    model: Any, training: Reviews, dev: Reviews, adapter: Path, *, epochs: int, lr: float
) -> None:
    """Fit, and leave the adapter of the epoch that was best on dev in a file."""
    steps = epochs * -(-len(training.labels) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        lr / 100, steps, warmup_target=lr, warmup_steps=max(1, steps // 16)
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        training.tokens,
        training.labels,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(dev.tokens, dev.labels),
        callbacks=[AdapterCallback(adapter, monitor="val_accuracy", mode="max")],
        verbose=1 if sys.stdout.isatty() else 2,
    )


def keras_logits(model: Any, reviews: Reviews) -> Logits:
    """Returns what Keras answers, (sentences, 2)."""
    return np.asarray(model.predict(reviews.tokens, batch_size=BATCH, verbose=0))


def onnx_logits(path: Path, reviews: Reviews) -> Logits:
    """Returns what ONNX Runtime answers, (sentences, 2)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = [value.name for value in session.get_inputs()]
    found = [
        session.run(None, {name: reviews.tokens[name][k : k + BATCH] for name in wanted})[0]
        for k in range(0, len(reviews.labels), BATCH)
    ]
    return np.concatenate(found)


def report(dev: Reviews, before: Logits, after: Logits, reference: Logits) -> None:
    """Print the accuracies, and how far the merged model is from Keras."""
    rows = [
        ("ONNX Runtime, base", before),
        ("ONNX Runtime, merged", after),
        (f"Keras ({keras.backend.backend()}), adapter on", reference),
    ]
    print(f"\n{len(dev.labels)} sentences that were not trained on, share judged right:")
    for title, logits in rows:
        print(f"  {title:<32}{(logits.argmax(1) == dev.labels).mean():.3f}")
    error = float(np.abs(after - reference).max() / np.abs(reference).max())
    agreement = float((after.argmax(1) == reference.argmax(1)).mean())
    print(f"same answers: {100 * agreement:.1f} %; largest difference of logits: {error:.1e}")
    if error > TOLERANCE:
        raise SystemExit(f"the merged model differs from Keras by more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
