"""Trainer and Accelerate, as each rank runs them under torchrun; rank 0 leaves the results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments

from fourier_trainers.torch import attach, parameter_groups, trained_state
from fourier_trainers.torch.accelerate import trim_checkpoints
from fourier_trainers.torch.huggingface import AdapterCallback
from tests.fourier_trainers.torch.loops import sentences, small
from tests.fourier_trainers.torch.loops.test_huggingface import CONFIG, ROWS, STEPS

AT = 3


def train(folder: Path, size: int, resume: Path | None = None) -> Trainer:
    """Return a Trainer that has trained with batches of `size` a process."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=size,
        max_steps=STEPS,
        learning_rate=0.05,
        adam_epsilon=1e-6,
        save_steps=AT,
        train_sampling_strategy="sequential",
        average_tokens_across_devices=False,  # or it doubles a loss that is a mean already
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        attach(sentences.bert(dropout=0.0), CONFIG),
        arguments,
        train_dataset=sentences.Pairs(ROWS),
        callbacks=[AdapterCallback()],
    )
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def accelerated(folder: Path, size: int) -> dict[str, Any]:
    """Return the trained state of a loop that was interrupted, and of one that went on from it."""
    accelerator = Accelerator(cpu=True)
    trim_checkpoints(accelerator)
    model = small.attached()
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=0.05), eps=1e-6)
    rows = DataLoader(TensorDataset(*small.rows()), batch_size=size)
    model, optimizer, rows = accelerator.prepare(model, optimizer, rows)
    for number, (tokens, labels) in enumerate(rows):
        if number == AT:
            accelerator.save_state(str(folder))
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(tokens), labels))
        optimizer.step()
    last = trained_state(model)
    accelerator.load_state(str(folder))
    return {"last": last, "loaded": trained_state(model)}


def main(folder: Path) -> None:
    """Train straight and resumed."""
    torch.set_num_threads(1)
    train(folder / "straight", 4)
    torch.distributed.barrier()
    trainer = train(folder / "resumed", 4, folder / f"straight/checkpoint-{AT}")
    results = accelerated(folder / "accelerate", 4)
    if trainer.is_world_process_zero():
        torch.save(results, folder / "accelerate.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
