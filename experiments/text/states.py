"""What the frozen layers of an encoder give, for each row of a task."""

from __future__ import annotations

import hashlib
from pathlib import Path

from experiments import code
from experiments.pretrained import identity, located, pretrained
from experiments.states import Parts, kept_rows
from experiments.text.cutting import lower_states
from experiments.text.models import Example, bucketed, new_model, padded, padding, tokens
from experiments.text.tasks import Rows, Task


def states(
    name: str, task: Task, rows: Rows, trained: int, length: int, shared: Path, device: str
) -> list[Example]:
    """Returns for each row what the last `trained` layers of model `name` read of it.

    Float32 arrays (tokens, width), views of one file that processes share.
    """
    from transformers import AutoConfig

    found = tokens(name, rows, length)
    read = [{key: values.tolist() for key, values in example.items()} for example in found]
    text = repr((identity(located(name)), trained, read, device, code.of(__file__)))
    path = shared / "states" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy"

    def compute() -> Parts:
        model = new_model(name, task, seed=0).to(device)
        for chosen in bucketed(found, 64):
            batch = padded([found[row] for row in chosen], padding(model))
            moved = {key: value.to(device) for key, value in batch.items()}
            yield chosen, lower_states(model, trained, moved).cpu().numpy()

    lengths = [len(example["input_ids"]) for example in found]
    width = pretrained(AutoConfig, name).hidden_size
    return [{"inputs_embeds": part} for part in kept_rows(path, lengths, width, compute)]
