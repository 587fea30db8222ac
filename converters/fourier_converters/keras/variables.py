"""The variables of a Keras file: which layer each belongs to, and what it is called there.

Files of Keras 3 number a layer's variables: `layers/dense_1/vars/0`. What stands where is a fact of
the layer's class, so that a name is found by how many variables there are. Older files have names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fourier_converters.keras.hdf5 import Dataset, Structure
from fourier_converters.keras.layers import EMBEDDING, Layer, Layers

_ORDERS: Final = (
    ("kernel", "bias"),
    ("embeddings",),
    ("embeddings", "reverse_embeddings"),
    ("gamma", "beta"),
    ("gamma", "moving_mean", "moving_variance"),
    ("beta", "moving_mean", "moving_variance"),
    ("gamma", "beta", "moving_mean", "moving_variance"),
    ("kernel", "recurrent_kernel", "bias"),
    ("depthwise_kernel", "pointwise_kernel", "bias"),
)
"""The variables of Keras's layers, in the order in which they are numbered."""

WEIGHTS: Final = frozenset({"kernel", "embeddings"})
_MATRICES: Final = WEIGHTS | {"reverse_embeddings", "recurrent_kernel"}
_VECTORS: Final = frozenset({"gamma", "beta", "moving_mean", "moving_variance"})
_VARS: Final = "vars"
_OLD_WEIGHTS: Final = "model_weights"
_NOT_THE_MODEL: Final = ("optimizer/", "optimizer_weights/")


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """One variable of a layer.

    Attributes:
        dataset: Where it lies.
        layer: The layer's name from the root model down, joined with "/"; None where nothing says.
        group: The path of the layer's group in the file.
        name: What the layer calls it; None in files of Keras 3.
        index: Its number in the layer.
        count: How many variables the layer has.
        described: What the model's config says of the layer.
    """

    dataset: Dataset
    layer: str | None
    group: str
    name: str | None
    index: int
    count: int
    described: Layer

    @property
    def path(self) -> str:
        """The dataset's path, which names it in map files."""
        return self.dataset.path

    @property
    def is_weight(self) -> bool:
        """Whether a target of the layer's name can mean it: kernels and embeddings come first."""
        return self.index == 0 if self.name is None else self.name in WEIGHTS

    def may_be(self, parameter: str) -> bool:
        """Whether the layer may call it `parameter`."""
        if self.name is not None:
            return self.name == parameter
        axes = len(self.dataset.shape)
        if (parameter in _MATRICES and axes < 2) or (parameter in _VECTORS and axes != 1):
            return False
        if self.count == 1:  # such as a bias, a scale, or a class token alone
            is_table = self.described.class_name in EMBEDDING
            return parameter == "embeddings" if is_table else parameter != "bias"
        orders = [order for order in _ORDERS if len(order) == self.count]
        return any(parameter in o and o.index(parameter) == self.index for o in orders)


def variables_of(structures: Sequence[Structure], layers: Layers) -> list[Variable]:
    """Returns the variables of a model, of all files that it is kept in."""
    if any("layer_names" in s.root_attributes or s.config is not None for s in structures):
        return [v for s in structures for v in _old(s, layers)]
    names = {path: name for s in structures for path, name in reversed(s.names.items())}
    datasets = [d for s in structures for d in s.datasets if _belongs(d.path)]
    counts = Counter(d.path.rpartition("/")[0] for d in datasets)
    return [v for d in datasets if (v := _numbered(d, names, counts, layers)) is not None]


def _belongs(path: str) -> bool:
    return not path.startswith(_NOT_THE_MODEL)


def _numbered(
    dataset: Dataset, names: dict[str, str], counts: Counter[str], layers: Layers
) -> Variable | None:
    """Returns a variable of Keras 3, None for what is no numbered variable."""
    holder, _, number = dataset.path.rpartition("/")
    if holder.rpartition("/")[2] != _VARS or not (number.isascii() and number.isdecimal()):
        return None
    group = holder.removesuffix(_VARS).removesuffix("/")
    layer = _joined(group, names, layers)
    described = layers.by_name.get(layer, Layer()) if layer is not None else Layer()
    return Variable(dataset, layer, group, None, int(number), counts[holder], described)


def _joined(group: str, names: dict[str, str], layers: Layers) -> str | None:
    """Returns the name of the layer in `group`: the names of all layers around it, and its own.

    Groups without a name are lists and dicts of layers. Older versions of Keras 3 wrote no names.
    """
    own = f"{group}/{_VARS}".removeprefix("/")
    if own not in names:
        return layers.groups.get(group, "" if not group else None)
    parts = group.split("/") if group else []
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return "/".join(names[f"{path}/{_VARS}"] for path in above if f"{path}/{_VARS}" in names)


def _old(structure: Structure, layers: Layers) -> Iterator[Variable]:
    """Yields the variables of a file of Keras 2, or of Keras 3's older form, which name them."""
    prefix = "" if "layer_names" in structure.root_attributes else f"{_OLD_WEIGHTS}/"
    datasets = [d for d in structure.datasets if d.path.startswith(prefix) and _belongs(d.path)]
    counts = Counter(d.path.rpartition("/")[0] for d in datasets)
    for dataset in datasets:
        top, _, weight = dataset.path.removeprefix(prefix).partition("/")
        module, _, name = weight.partition(":")[0].rpartition("/")
        is_within = module == top or module.startswith(f"{top}/") or not module
        layer = (module or top) if is_within else f"{top}/{module}"
        group = dataset.path.rpartition("/")[0]
        described = layers.by_name.get(layer, Layer())
        yield Variable(dataset, layer, group, name, 0, counts[group], described)
