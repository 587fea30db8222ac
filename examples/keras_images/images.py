"""One small convolutional net in Keras, two adapters of 800 coefficients, ONNX Runtime.

The net learns images as they are. Then one adapter teaches it the same images turned by 90 degrees,
another one negatives, dark for light. Both are merged into the one base. See README.md.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime
from keras import layers
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

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
BATCH = 64
HELD_OUT = 500  # of the digits; Fashion-MNIST has its own
TOLERANCE = 2e-5  # of the largest logit

CONFIG = FourierConfig(target_modules=("conv_1", "conv_2", "conv_3", "head"), n=200, alpha=50.0)

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Images:
    """Pixels, float32 (images, side, side, 1) from 0 to 1, and labels 0..9."""

    pixels: Pixels
    labels: npt.NDArray[np.int32]

    def seen(self, change: Callable[[Pixels], Pixels]) -> Images:
        """Returns the same images, changed."""
        return Images(np.ascontiguousarray(change(self.pixels)), self.labels)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "turned": lambda pixels: np.rot90(pixels, axes=(1, 2)),
    "negative": lambda pixels: 1 - pixels,
}


@dataclass(frozen=True)
class Row:
    """Accuracies on held-out images of one sort."""

    images: str
    base: float
    merged: float
    in_keras: float
    size: int
    error: float


def main() -> None:
    """Train the base, then both adapters; merge them; compare."""
    chosen = options()
    training, held_out = fashion(chosen.fashion) if chosen.fashion else digits()
    if chosen.small:
        training, held_out = first(training, 128), first(held_out, 64)
    model, base = net(training.pixels.shape[1]), chosen.out / "base.onnx"
    print("the base, on images as they are:")
    fit(model, training, epochs=chosen.epochs, lr=2e-3)
    export_base(model, base, overwrite=True)
    as_they_are = accuracy(onnx_logits(base, held_out), held_out)

    rows = [
        adapted(model, name, training, held_out, chosen.out, epochs=2 * chosen.epochs)
        for name in CHANGES
    ]
    print(f"\n{len(held_out.labels)} images that were not trained on, share named right:")
    print(f"  {'images':<14}{'base':>8}{'merged':>8}{'in Keras':>10}  adapter")
    print(f"  {'as they are':<14}{as_they_are:>8.3f}")
    for row in rows:
        shares = f"{row.base:>8.3f}{row.merged:>8.3f}{row.in_keras:>10.3f}"
        print(f"  {row.images:<14}{shares}  {row.size / 1000:.1f} kB, off by {row.error:.0e}")
    if max(row.error for row in rows) > TOLERANCE:
        raise SystemExit(f"a merged model differs from Keras by more than {TOLERANCE:.0e}")


def adapted(
    model: Any, name: str, training: Images, held_out: Images, out: Path, *, epochs: int
) -> Row:
    """Train an adapter on changed images, merge it, compare; leaves the model as it was."""
    file, merged = out / f"{name}.fft", out / f"{name}.onnx"
    training, held_out = (images.seen(CHANGES[name]) for images in (training, held_out))
    attach(model, CONFIG)
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_weights)
    print(f"\nan adapter of {count:,} coefficients, for images that are {name}:")
    fit(model, training, epochs=epochs, lr=0.1, adapter=file)
    detach(model)  # the last epoch's; the callback kept the best one's
    load_adapter(model, file)
    reference = np.asarray(model.predict(held_out.pixels, verbose=0))
    detach(model)

    to_onnx(fourier_format.load(file), out / "base.onnx", merged, overwrite=True)
    found = onnx_logits(merged, held_out)
    return Row(
        images=name,
        base=accuracy(onnx_logits(out / "base.onnx", held_out), held_out),
        merged=accuracy(found, held_out),
        in_keras=accuracy(reference, held_out),
        size=file.stat().st_size,
        error=float(np.abs(found - reference).max() / np.abs(reference).max()),
    )


def net(side: int) -> Any:
    """Returns a new net for images of `side` x `side`: 58,314 parameters where that is 8."""
    pixels = keras.Input((side, side, 1), name="pixels")
    states = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_1")(pixels)
    states = layers.MaxPooling2D(name="half")(states)
    states = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_2")(states)
    states = layers.MaxPooling2D(name="quarter")(states)
    states = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv_3")(states)
    states = layers.Flatten(name="flat")(states)
    return keras.Model(pixels, layers.Dense(10, name="head")(states), name="net")


def fit(model: Any, images: Images, *, epochs: int, lr: float, adapter: Path | None = None) -> None:
    """Train what is trainable; with `adapter`, write it after each epoch that was the best."""
    steps = epochs * -(-len(images.labels) * 9 // 10 // BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(lr, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    best = [AdapterCallback(adapter, monitor="val_loss")] if adapter else []
    model.fit(
        images.pixels,
        images.labels,
        batch_size=BATCH,
        epochs=epochs,
        validation_split=0.1,  # of what is trained on: the held-out images choose nothing
        callbacks=best,
        verbose=1 if sys.stdout.isatty() else 2,
    )


def options() -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST's four .gz files")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--epochs", type=int, help="of the base: 30, or 2; adapters take twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a few images: see that it runs")
    chosen = parser.parse_args()
    if chosen.epochs is None:
        chosen.epochs = 2 if chosen.fashion else 30
    if chosen.small:
        chosen.epochs = 1
    chosen.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(chosen.seed)
    return chosen


def digits() -> tuple[Images, Images]:
    """Returns scikit-learn's 8x8 digits, to train on and held out."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    pixels = (bunch.images / 16).astype(np.float32)[order, :, :, None]
    every = Images(pixels, bunch.target.astype(np.int32)[order])
    held_out = first(every, HELD_OUT)
    return Images(every.pixels[HELD_OUT:], every.labels[HELD_OUT:]), held_out


def fashion(folder: Path) -> tuple[Images, Images]:
    """Returns Fashion-MNIST, 28x28, to train on and held out."""
    training, held_out = (
        Images(
            (idx(folder / f"{split}-images-idx3-ubyte.gz", (28, 28, 1)) / 255).astype(np.float32),
            idx(folder / f"{split}-labels-idx1-ubyte.gz", ()).astype(np.int32),
        )
        for split in ("train", "t10k")
    )
    return training, held_out


def idx(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Returns the bytes of a file in MNIST's format as (items, *shape)."""
    if not path.exists():
        message = (
            f"{path} is missing: give the folder of Fashion-MNIST's files with --fashion"
            " (README.md)"
        )
        raise SystemExit(message)
    content = gzip.decompress(path.read_bytes())
    header = 8 + 4 * len(shape[:2])  # magic, count, and one size for each axis of an image
    return np.frombuffer(content, np.uint8, offset=header).reshape(-1, *shape)


def first(images: Images, count: int) -> Images:
    """Returns the first `count` images."""
    return Images(images.pixels[:count], images.labels[:count])


def onnx_logits(path: Path, images: Images) -> Pixels:
    """Returns what ONNX Runtime answers, (images, 10)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [pixels] = session.get_inputs()
    return np.asarray(session.run(None, {pixels.name: images.pixels})[0])


def accuracy(logits: Pixels, images: Images) -> float:
    """Returns the share of images that are named right."""
    return float((logits.argmax(1) == images.labels).mean())


if __name__ == "__main__":
    main()
