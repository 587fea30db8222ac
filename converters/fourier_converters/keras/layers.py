"""What a model's config says of its layers: their names, their classes, and einsum equations.

config.json lists the layers of Functional and Sequential models, nested ones too. What lies inside
other layers it does not list; there the `name` attributes of the HDF5 groups are all that is known.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

DENSE: Final = frozenset({"Dense"})
EINSUM_DENSE: Final = frozenset({"EinsumDense"})
EMBEDDING: Final = frozenset({"Embedding", "ReversibleEmbedding"})
CONVOLUTION: Final = frozenset({"Conv2D"})
KNOWN: Final = DENSE | EINSUM_DENSE | EMBEDDING | CONVOLUTION
"""Classes whose kernels are read in one way alone; of others nothing is concluded."""

_ATTENTION: Final = {
    "query": ("query_dense", (0,)),
    "key": ("key_dense", (0,)),
    "value": ("value_dense", (0,)),
    "attention_output": ("output_dense", (0, 1)),
}
"""The EinsumDense layers of Keras's MultiHeadAttention: name, attribute, the axes contracted."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What the config says of one layer.

    Attributes:
        class_name: Its class, one of `KNOWN`; None for others.
        contracted: The axes of an EinsumDense kernel that its equation contracts.
        tied: Whether it also is the head that it is tied to.
    """

    class_name: str | None = None
    contracted: tuple[int, ...] | None = None
    tied: bool = False


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers that a config lists.

    Attributes:
        by_name: By their names from the root model down, joined with "/".
        groups: The name so joined, by the path of the layer's group in the HDF5 file.
    """

    by_name: dict[str, Layer] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


def read_layers(text: str | bytes | None) -> Layers:
    """Returns the layers of a config; none where it is absent, or not what Keras writes."""
    found = Layers()
    try:
        content = json.loads(text or "null")
        _walk(content, "", "", found)
    except (ValueError, RecursionError):
        return Layers()
    return found


def _walk(entry: Any, name: str, group: str, found: Layers) -> None:
    """Note the layers below `entry`, which the file keeps in `group`."""
    config = _config(entry)
    inside = config.get("layers")
    used = Counter[str]()
    for layer in inside if isinstance(inside, list) else []:
        snake = _snake_case(str(layer.get("class_name"))) if isinstance(layer, dict) else ""
        number = f"_{used[snake]}" if used[snake] else ""
        used[snake] += 1
        _note(layer, name, f"{group}/layers/{snake}{number}".removeprefix("/"), found)
    if isinstance(config.get("layer"), dict):  # of a wrapper, such as TimeDistributed
        _note(config["layer"], name, f"{group}/layer", found)


def _note(entry: Any, above: str, group: str, found: Layers) -> None:
    config = _config(entry)
    own = config.get("name")
    if not isinstance(own, str):
        return
    name = f"{above}/{own}".removeprefix("/")
    found.groups[group] = name
    _add(found, name, _layer(entry, config))
    if entry.get("class_name") == "MultiHeadAttention" and _is_of_keras(entry):
        for child, (attribute, contracted) in _ATTENTION.items():
            for key in (attribute, f"_{attribute}"):  # as older versions of Keras call it
                found.groups[f"{group}/{key}"] = f"{name}/{child}"
            _add(found, f"{name}/{child}", Layer("EinsumDense", contracted))
    _walk(entry, name, group, found)


def _add(found: Layers, name: str, layer: Layer) -> None:
    """Two layers may have one name; then nothing is known of either."""
    same = found.by_name.get(name, layer) == layer
    found.by_name[name] = layer if same else Layer()


def _layer(entry: Any, config: dict[str, Any]) -> Layer:
    class_name = str(entry.get("class_name"))
    if class_name not in KNOWN or not _is_of_keras(entry):
        return Layer()
    contracted = _contracted(config.get("equation")) if class_name in EINSUM_DENSE else None
    return Layer(class_name, contracted, config.get("tie_weights") is True)


def _is_of_keras(entry: Any) -> bool:
    """Whether a class is Keras's own; old files do not say."""
    return str(entry.get("module", "keras")).partition(".")[0] in {"keras", "keras_hub", "tf_keras"}


def _contracted(equation: Any) -> tuple[int, ...] | None:
    """Returns the kernel's axes that are not in the output of an equation such as "abc,cd->abd"."""
    parts = re.fullmatch(r"([\w.]*),(\w*)->([\w.]*)", str(equation).replace(" ", ""))
    if parts is None:
        return None
    return tuple(axis for axis, letter in enumerate(parts[2]) if letter not in parts[3])


def _config(entry: Any) -> dict[str, Any]:
    config = entry.get("config") if isinstance(entry, dict) else None
    return config if isinstance(config, dict) else {}


def _snake_case(name: str) -> str:
    """Returns a class's name as Keras calls its group (keras.src.utils.naming)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
