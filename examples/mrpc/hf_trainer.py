"""Fine-tune MiniLM on MRPC with Hugging Face's Trainer, and serve it in ONNX Runtime."""

from __future__ import annotations

from typing import Any

from mrpc import BATCH, Pairs, accuracy, export_base, finish, new_model, options, read, tokenizer
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from fourier_trainers.torch import FourierConfig, attach, capture, summary
from fourier_trainers.torch.huggingface import AdapterCallback, WatchCallback

# The Trainer has one learning rate. The head takes it as it is; the coefficients move `gain`
# times as fast, which is what FourierFT's rates of 1e-2 to 3e-1 mean beside a head's 1e-3.
GAIN = 10.0


def main() -> None:
    """Train, save adapter.fft, convert, compare."""
    chosen = options(__doc__, epochs=5, lr=6e-3)
    training, dev = (read(chosen.data, split, small=chosen.small) for split in ("train", "dev"))
    model = new_model()
    export_base(model, chosen.out)
    config = FourierConfig(
        target_modules=("query", "value"),
        n=1000,
        alpha=150.0,
        gain=GAIN,
        modules_to_save=("classifier",),
    )
    attach(model, config)
    print(summary(model))
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(chosen.out / "trainer"),
            learning_rate=chosen.lr,
            num_train_epochs=chosen.epochs,
            warmup_steps=0.06,  # of all steps
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            seed=chosen.seed,
            eval_strategy="epoch",
            save_strategy="epoch",  # coefficients, head and optimizer; never the base
            save_total_limit=1,
            report_to="none",
            use_cpu=True,
        ),
        data_collator=DataCollatorWithPadding(tokenizer()),
        train_dataset=tokenized(training),
        eval_dataset=tokenized(dev),
        callbacks=[AdapterCallback(), WatchCallback()],
        compute_metrics=lambda found: {"accuracy": accuracy(found.predictions, dev)},
    )
    trainer.train()
    finish(model, capture(model), chosen.out, dev)


def tokenized(pairs: Pairs) -> list[dict[str, Any]]:
    """Returns the pairs as the Trainer takes them: any sequence of examples will do."""
    tokens = tokenizer()(pairs.first, pairs.second, truncation=True)
    return [
        {**{name: values[k] for name, values in tokens.items()}, "label": label}
        for k, label in enumerate(pairs.labels)
    ]


if __name__ == "__main__":
    main()
