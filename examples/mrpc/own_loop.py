"""Fine-tune MiniLM on MRPC in a training loop of one's own, and serve it in ONNX Runtime."""

import torch
from mrpc import (
    BATCH,
    Pairs,
    accuracy,
    batches,
    export_base,
    finish,
    new_model,
    options,
    read,
    torch_logits,
)
from torch import nn
from tqdm import tqdm

from fourier_trainers.torch import FourierConfig, attach, capture, parameter_groups, summary

CONFIG = FourierConfig(
    target_modules=("query", "value"), n=1000, alpha=150.0, modules_to_save=("classifier",)
)


def main() -> None:
    """Train, save adapter.fft, convert, compare."""
    chosen = options(__doc__, epochs=5, lr=6e-2)
    training, dev = (read(chosen.data, split, small=chosen.small) for split in ("train", "dev"))
    model = new_model()
    export_base(model, chosen.out)
    attach(model, CONFIG)
    print(summary(model))
    train(model, training, dev, epochs=int(chosen.epochs), lr=chosen.lr)
    finish(model, capture(model), chosen.out, dev)


def train(model: nn.Module, training: Pairs, dev: Pairs, *, epochs: int, lr: float) -> None:
    """Train what is trainable: the coefficients at `lr`, the head at a tenth of it."""
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=lr), weight_decay=0.0)
    steps = epochs * -(-len(training.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in optimizer.param_groups], steps, pct_start=0.06
    )
    with tqdm(total=steps, unit="step") as bar:
        for epoch in range(epochs):
            model.train()
            order = torch.randperm(len(training.labels)).tolist()
            for batch in batches(training, order):
                loss = model(**batch).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{loss.item():.3f}")
                bar.update()
            right = accuracy(torch_logits(model, dev), dev)
            tqdm.write(f"epoch {epoch + 1}: dev accuracy {right:.3f}")


if __name__ == "__main__":
    main()
