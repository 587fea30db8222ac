"""Make every data file in this folder: the base model, the adapters, the reference outputs.

A two-layer vision transformer learns scikit-learn's 8x8 digits; a FourierFT adapter then teaches
the frozen model the same digits turned by 90 degrees. The package peft trains one in the same
loop, as a second source for the demo and the tests. Written beside this script:

* ``base.onnx``      the base model, its weights inside the file;
* ``adapter.fft``    the adapter;
* ``peft_adapter/``  peft's adapter as ``PeftModel.save_pretrained`` leaves it;
* ``held_out.npz``   held-out digits, their labels, and the logits PyTorch gave for them.

Needs torch, peft, scikit-learn, onnx, onnxscript and onnxruntime. The demo needs none of the
first three: it reads only the files above.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]
import torch
from peft import FourierFTConfig, PeftModel, get_peft_model
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor, nn

import fourier_format
from fourier_trainers.torch import FourierConfig, attach, capture, summary

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SEED = 20240503
HELD_OUT = 500
MAX_PIXEL = 16.0  # the digits' pixels are the whole numbers 0..16

WIDTH = 96
HEADS = 4
MLP_WIDTH = 192
BLOCKS = 2
SIDE = 8
PATCH = 2
CLASSES = 10

CONFIG = FourierConfig(
    target_modules=("query", "key", "value", "output", "fc1", "fc2"), n=300, alpha=150.0
)

OPSET = 18
TOLERANCE = 1e-5


class Attention(nn.Module):
    """Multi-head self-attention out of four separate linear layers."""

    def __init__(self) -> None:
        """Make the four projections."""
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens of ``x``, shape (batch, tokens, width)."""
        query, key, value = (
            projected.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for projected in (self.query(x), self.key(x), self.value(x))
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result


class Mlp(nn.Module):
    """The two-layer perceptron of a block."""

    def __init__(self) -> None:
        """Make the two layers."""
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, MLP_WIDTH)
        self.fc2 = nn.Linear(MLP_WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the perceptron to each token."""
        result: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return result


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self) -> None:
        """Make the block's two halves and their norms."""
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        """Add attention, then the perceptron, to ``x``."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class DigitTransformer(nn.Module):
    """A vision transformer over 16 patches of 2x2 pixels; it takes raw pixels, 0..16."""

    def __init__(self) -> None:
        """Make the patch embedding, the blocks and the head."""
        super().__init__()
        self.embed = nn.Linear(PATCH * PATCH, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn((SIDE // PATCH) ** 2, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits, (batch, 10), of ``pixels``, float32 (batch, 8, 8)."""
        across = SIDE // PATCH
        x = (pixels / MAX_PIXEL).reshape(-1, across, PATCH, across, PATCH)
        x = x.permute(0, 1, 3, 2, 4).reshape(-1, across * across, PATCH * PATCH)
        x = self.embed(x) + self.position
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.head(self.norm(x).mean(dim=1))
        return result


@dataclass(frozen=True)
class Digits:
    """Images, float32 (n, 8, 8) of whole numbers 0..16, and their labels."""

    images: FloatArray
    labels: IntArray

    def turned(self) -> Digits:
        """Return the same digits, each turned by 90 degrees counter-clockwise."""
        return Digits(np.ascontiguousarray(np.rot90(self.images, axes=(1, 2))), self.labels)


@dataclass(frozen=True)
class Recipe:
    """How long and how hard to train."""

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int = 64


BASE_RECIPE = Recipe(epochs=60, learning_rate=1e-3, weight_decay=0.05)
ADAPTER_RECIPE = Recipe(epochs=100, learning_rate=0.05, weight_decay=0.0)


def seed_everything() -> None:
    """Fix PyTorch's source of chance and its number of threads, which orders its sums."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(2)


def load_split() -> tuple[Digits, Digits]:
    """Return the training and the held-out digits; the split depends on SEED alone."""
    bunch = load_digits()
    images = bunch.images.astype(np.float32)
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    held, kept = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(images[kept], labels[kept]), Digits(images[held], labels[held])


def train(model: nn.Module, digits: Digits, recipe: Recipe) -> None:
    """Train the parameters of ``model`` that ask for gradients, on ``digits``."""
    images, labels = torch.from_numpy(digits.images), torch.from_numpy(digits.labels)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps)
    model.train()
    for _ in range(recipe.epochs):
        for chosen in torch.split(torch.randperm(len(labels)), recipe.batch):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()


def torch_logits(model: nn.Module, images: FloatArray) -> FloatArray:
    """Return the logits of ``images`` from a PyTorch model."""
    with torch.no_grad():
        logits: FloatArray = model(torch.from_numpy(images)).numpy()
    return logits


def onnx_logits(path: Path, images: FloatArray) -> FloatArray:
    """Return the logits of ``images`` from the ONNX file at ``path``."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"pixels": images})[0], dtype=np.float32)


def accuracy(logits: FloatArray, labels: IntArray) -> float:
    """Return the share of rows whose largest logit stands at the label."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def strip_machine_paths(path: Path) -> None:
    """Rewrite an ONNX file without the traces of the machine that made it.

    The exporter writes on every node the Python stack that led to it, with the full paths of
    this script and of PyTorch. They say nothing of the model and should not be published. All
    other entries stay, ``pkg.torch.onnx.name_scopes`` above all: it ties an unnamed, transposed
    weight to the path of its module.
    """
    roots = (str(Path(__file__).resolve().parent), str(Path(torch.__file__).parents[1]), sys.prefix)
    model = onnx.load(path)
    nodes = [*model.graph.node, *(node for made in model.functions for node in made.node)]
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for item in [*nodes, *values, *model.graph.initializer, *model.functions, model.graph, model]:
        item.doc_string = ""
        kept = [
            entry
            for entry in item.metadata_props
            if not entry.key.endswith("stack_trace") and not any(r in entry.value for r in roots)
        ]
        del item.metadata_props[:]
        item.metadata_props.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def export_base(model: nn.Module, path: Path) -> None:
    """Write ``model`` to ``path`` as one ONNX file with a free batch axis."""
    torch.onnx.export(
        model,
        (torch.zeros(2, SIDE, SIDE),),
        path,
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
    )
    strip_machine_paths(path)


def train_adapter(base: nn.Module, digits: Digits) -> nn.Module:
    """Return ``base``, frozen, with a FourierFT adapter trained on ``digits``."""
    seed_everything()
    model = attach(base, CONFIG)
    print(summary(model))
    train(model, digits, ADAPTER_RECIPE)
    return model


def train_in_peft(base: nn.Module, digits: Digits) -> PeftModel:
    """Return the same of peft, with the entries that peft draws."""
    config = FourierFTConfig(
        n_frequency=CONFIG.n,
        scaling=CONFIG.alpha,
        target_modules=list(CONFIG.target_modules),
        init_weights=True,
    )
    model = get_peft_model(base, config)
    train(model, digits, ADAPTER_RECIPE)
    return model


def save_peft(model: PeftModel, folder: Path) -> None:
    """Save peft's adapter to ``folder``, the same bytes on each run.

    peft keeps the target modules as a set, whose order changes from run to run, and adds a
    model card of placeholders; the one is sorted here, the other removed.
    """
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_onnx(path: Path, images: FloatArray, reference: FloatArray) -> float:
    """Return how far the ONNX file is from PyTorch, at batches of all, one and seven images."""
    worst = 0.0
    for count in (len(images), 1, 7):
        found = onnx_logits(path, images[:count])
        worst = max(worst, float(np.abs(found - reference[:count]).max()))
    if worst > TOLERANCE:
        message = f"{path.name} is {worst:.2e} away from PyTorch, over {TOLERANCE:.0e}"
        raise SystemExit(message)
    return worst


def make(folder: Path) -> None:
    """Train both models, write every file into ``folder`` and print the figures."""
    seed_everything()
    training, upright = load_split()
    turned = upright.turned()
    base = DigitTransformer()
    train(base, training, BASE_RECIPE)
    export_base(base, folder / "base.onnx")
    logits = {
        "base_logits_upright": torch_logits(base, upright.images),
        "base_logits_turned": torch_logits(base, turned.images),
    }
    peer = train_in_peft(copy.deepcopy(base), training.turned())
    logits["peft_logits_turned"] = torch_logits(peer, turned.images)
    save_peft(peer, folder / "peft_adapter")
    adapted = train_adapter(base, training.turned())
    logits["adapted_logits_turned"] = torch_logits(adapted, turned.images)
    fourier_format.save(capture(adapted), folder / "adapter.fft", overwrite=True)
    images = {"upright": upright.images, "turned": turned.images}
    np.savez_compressed(
        folder / "held_out.npz", allow_pickle=False, labels=upright.labels, **images, **logits
    )
    for name, found in logits.items():
        print(f"accuracy, {name:<25} {accuracy(found, upright.labels):.3f}")
    for view, pixels in images.items():
        worst = check_onnx(folder / "base.onnx", pixels, logits[f"base_logits_{view}"])
        print(f"base.onnx from PyTorch, {view:<11} {worst:.1e}")


def main() -> None:
    """Read the command line and make the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here, help="folder to write into")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    make(folder)


if __name__ == "__main__":
    main()
