"""The paper's own numbers (arXiv 2405.03003), shown beside ours and always called the paper's."""

from __future__ import annotations

from experiments.evidence.blocks import Table
from experiments.evidence.formatting import NONE
from experiments.evidence.trainings import called

GLUE_TASKS = ("sst2", "mrpc", "cola", "qnli", "rte", "stsb")
GLUE = {
    "RoBERTa base": {
        "full fine-tuning (125M)": (94.8, 90.2, 63.6, 92.8, 78.7, 91.2),
        "LoRA r = 8 (0.3M)": (95.1, 89.7, 63.4, 93.3, 78.4, 91.5),
        "FourierFT n = 1000 (0.024M)": (94.2, 90.0, 63.8, 92.2, 79.1, 90.8),
    },
    "RoBERTa large": {
        "LoRA r = 8 (0.8M)": (96.2, 90.2, 68.2, 94.8, 85.2, 92.3),
        "FourierFT n = 1000 (0.048M)": (96.0, 90.9, 67.1, 94.4, 87.4, 91.9),
    },
}
"""Table 2: medians of 5 seeds, accuracy but Matthews (CoLA) and Pearson (STS-B), times 100."""

BASES = {
    "Fourier": {"rte": 79.1, "cola": 63.8},
    "random Gaussian basis": {"rte": 72.7, "cola": 58.7},
    "random orthogonal basis": {"rte": 75.6, "cola": 60.0},
}
"""The basis ablation, RoBERTa base."""


def glue_table() -> Table:
    """Returns the paper's table 2, with FourierFT minus LoRA."""
    rows = []
    for model, methods in GLUE.items():
        for name, values in methods.items():
            rows.append([f"{model}, {name}", *(f"{value:.1f}" for value in values)])
        lora, fourier = list(methods.values())[-2:]
        differences = [f"{a - b:+.1f}" for a, b in zip(fourier, lora, strict=True)]
        rows.append([f"{model}, FourierFT minus LoRA", *differences])
    return Table(("the paper's", *map(called, GLUE_TASKS)), rows)


def bases_table() -> Table:
    """Returns the paper's ablation of bases, with the differences to its own."""
    first = BASES["Fourier"]
    rows = []
    for name, found in BASES.items():
        cells = [f"{found[task]:.1f}" for task in first]
        differences = [
            NONE if found is first else f"{found[task] - first[task]:+.1f}" for task in first
        ]
        rows.append([name, *cells, *differences])
    names = [called(task) for task in first]
    return Table(("the paper's", *names, *(f"{name}, minus Fourier" for name in names)), rows)


E2E = {
    "GPT-2 medium, LoRA (0.35M)": (68.9, 8.76, 46.6, 71.5, 2.53),
    "GPT-2 medium, FourierFT n = 1000 (0.048M)": (69.1, 8.82, 47.0, 71.8, 2.51),
    "GPT-2 large, LoRA (0.77M)": (70.1, 8.83, 46.8, 72.0, 2.47),
    "GPT-2 large, FourierFT n = 1000 (0.072M)": (70.2, 8.90, 47.0, 71.8, 2.50),
}
"""Table 3: BLEU, NIST, METEOR, ROUGE-L, CIDEr."""


def e2e_table() -> Table:
    """Returns the paper's table 3."""
    forms = ("{:.1f}", "{:.2f}", "{:.1f}", "{:.1f}", "{:.2f}")
    rows = [
        [name, *(form.format(value) for form, value in zip(forms, values, strict=True))]
        for name, values in E2E.items()
    ]
    return Table(("the paper's", "BLEU", "NIST", "METEOR", "ROUGE-L", "CIDEr"), rows)
