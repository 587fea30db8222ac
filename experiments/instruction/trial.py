"""One instruction tuning: what it costs, how its loss falls, and whether it converts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.causal.decoding import Asked, greedy
from experiments.causal.learning import Taught, learned, measured, whole
from experiments.causal.methods import Method
from experiments.causal.models import new_tokenizer
from experiments.causal.rows import Row
from experiments.causal.serving import compared, served
from experiments.causal.training import Recipe, Set, loss_of
from experiments.causal.unlearned import SHAPES, refuse_on_cpu
from experiments.instruction.data import Splits, prompt, rows, splits
from experiments.trial import Context, Json


@dataclass(frozen=True, slots=True)
class InstructionTrial:
    """A method, taught to follow instructions.

    Attributes:
        model: A name for models.located.
        method: What is trained, on query and value of all layers.
        bits: Of the base's weights in training: 32, or 4 (NF4).
        rate: Of what is trained.
        seed: Of batches and entries.
        epochs: How many.
        batch: Rows of a step.
        length: Tokens of a row at most.
        precision: "float32" or "bfloat16", of products in training.
        checkpointing: Whether activations are computed anew on the way back.
        source: "e2e" or "jsonl".
        rows: Examples that are used; None for all.
        answered: Examples that torch and ONNX Runtime answer; 0 for none.
        limit: Tokens of such an answer at most.
    """

    model: str
    method: Method
    bits: int
    rate: float
    seed: int
    epochs: int
    batch: int
    length: int
    precision: str
    checkpointing: bool
    source: str
    rows: int | None
    answered: int
    limit: int

    @property
    def label(self) -> str:
        """Model, bits, method, rate, seed."""
        base = f"{self.model} {self.bits} bits"
        return f"{base} {self.method.label} rate={self.rate:g} seed={self.seed}"

    @property
    def work(self) -> str:
        """Equal models, amounts of data and kinds of method."""
        return f"{self.model} {self.bits} bits {self.rows} rows {self.method.kind} {self.answered}"

    @property
    def steps(self) -> int:
        """Epochs, and the answers."""
        return self.epochs + (self.answered > 0)

    @property
    def guess(self) -> float:
        """Of four layers of SmolLM2 0.2 s a row."""
        return 0.2 * (self.rows or 52_000) + 5

    def run(self, context: Context) -> Json:
        """Returns history, memory, sizes, the loss apart once merged into the float32 base.

        Of FourierFT how ONNX Runtime answers, too. A training that diverged in its first epoch has
        no file and no merged loss: "diverged" is 1. Random weights are trained, for the cost alone.

        "left_out" are the examples whose prompt alone is as long as a row may be.

        Raises:
            SystemExit: They are a large model's, and there is no GPU; or no prompt is short enough.
        """
        if self.model in SHAPES:
            refuse_on_cpu(self.model, context.device)
        found = splits(self.source, context.data, self.rows)
        tokenizer = new_tokenizer(self.model, context.shared)
        taught = Taught(
            self.model, self.method, self.seed, bits=self.bits, checkpointing=self.checkpointing
        )
        recipe = Recipe(self.rate, self.epochs, self.batch, self.seed, self.precision)
        train, choose = self._rows(found, tokenizer)
        left_out = len(found.train) + len(found.choose) - len(train) - len(choose)
        if self.model in SHAPES:
            return measured(taught, recipe, train, choose, context) | {"left_out": left_out}
        result, values = learned(taught, recipe, train, choose, context)
        result["left_out"] = left_out
        if result.get("diverged") == 1:
            return result
        model, file = whole(taught, values, context)
        result["file_bytes"] = file.stat().st_size
        result["merged_loss"] = loss_of(model, Set(choose, None))
        if self.answered:
            answered = found.choose[: self.answered]
            prompts = [prompt(tokenizer, each) for each in answered]
            asked = Asked(prompts, self.limit, tokenizer.eos_token_id)
            said = greedy(model, asked)
            del model
            ours = served(file, self.model, asked, said, context.shared)
            ids = [each.number for each in answered]
            result["onnxruntime"] = ours.numbers() | compared(ids, said, ours.tokens)
            context.step()
        return result

    def _rows(self, found: Splits, tokenizer: Any) -> tuple[list[Row], list[Row]]:
        """Returns what trains and what chooses; neither may be empty."""
        train, choose = (rows(tokenizer, each, self.length) for each in (found.train, found.choose))
        if not train or not choose:
            raise SystemExit(
                f"no prompt has fewer than {self.length} tokens: give rows more length"
            )
        return train, choose
