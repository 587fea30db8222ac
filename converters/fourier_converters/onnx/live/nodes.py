"""Nodes that are being made: a list in which each new one reads what those before it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.stores import Store
from fourier_converters.onnx.tensors import element_type
from fourier_format.adapter import Array
from fourier_format.dtypes import dtype_name


class Constants:
    """Constants of the main graph, which every If sees; equal ones are one."""

    def __init__(self, model: Model, store: Store) -> None:
        """Takes the model that gets them, and the store that takes their values."""
        self.model = model
        self._store = store
        self._made: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def of(self, values: Array, stem: str) -> str:
        """Returns the name of an initializer with `values`."""
        values = np.array(values, order="C")  # ascontiguousarray makes vectors of scalars
        key = (str(values.dtype), values.shape, values.tobytes())
        if key in self._made:
            return self._made[key]
        tensor = surgery.new_initializer(
            self.model, stem, str(dtype_name(values.dtype)), values.shape
        )
        self._store.add(tensor, values)
        self._made[key] = tensor.name
        return str(tensor.name)

    def integers(self, *values: int) -> str:
        """Returns the name of an int64 vector."""
        return self.of(np.array(values, np.int64), "fourier.integers")

    def scalar(self, value: int) -> str:
        """Returns the name of an int64 scalar."""
        return self.of(np.array(value, np.int64), "fourier.integer")


class Nodes:
    """Nodes that are not in a graph yet.

    Attributes:
        made: The NodeProtos, in order.
        constants: Where constants go.
    """

    def __init__(self, constants: Constants, stem: str) -> None:
        """Takes what the names of new values begin with."""
        self.made: list[Any] = []
        self.constants = constants
        self._stem = stem

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node of one output; returns the output's name."""
        stem = f"{self._stem}.{name or operator.lower()}"
        node = surgery.new_node(self.constants.model, operator, inputs, stem, **attributes)
        self.made.append(node)
        return str(node.output[0])

    def reshape(self, value: str, *shape: int) -> str:
        """Add a Reshape to a fixed shape, of which one size may be -1."""
        return self.add("Reshape", value, self.constants.integers(*shape))

    def cast(self, value: str, dtype: str) -> str:
        """Add a Cast from float32 to a dtype of the format, or back."""
        return self.add("Cast", value, to=element_type(dtype))

    def split(self, value: str, sizes: Sequence[int]) -> list[str]:
        """Add a Split of the last axis."""
        from onnx import helper

        model = self.constants.model
        names = [model.fresh_name(f"{self._stem}.part") for _ in sizes]
        old = surgery.opset(model) < 13
        inputs = [value] if old else [value, self.constants.integers(*sizes)]
        given = {"split": list(sizes)} if old else {}
        self.made.append(
            helper.make_node("Split", inputs, names, name=f"{names[0]}.split", axis=-1, **given)
        )
        return names

    def rename(self, old: str, new: str) -> None:
        """Give an output that nothing here reads another name."""
        for node in self.made:
            for slot, name in enumerate(node.output):
                if name == old:
                    node.output[slot] = new

    def either(
        self,
        condition: str,
        then: Callable[[Nodes], Sequence[str]],
        otherwise: Callable[[Nodes], Sequence[str]],
        outputs: Sequence[str],
        dtypes: Sequence[str],
    ) -> None:
        """Add an If whose branches are what `then` and `otherwise` add; they return its outputs."""
        from onnx import helper

        branches = {}
        for key, fill in (("then_branch", then), ("else_branch", otherwise)):
            inner = Nodes(self.constants, self._stem)
            results = fill(inner)
            infos = [
                helper.make_tensor_value_info(name, element_type(dtype), None)
                for name, dtype in zip(results, dtypes, strict=True)
            ]
            name = self.constants.model.fresh_name(f"{self._stem}.{key}")
            branches[key] = helper.make_graph(inner.made, name, [], infos)
        name = self.constants.model.fresh_name(f"{self._stem}.if")
        self.made.append(helper.make_node("If", [condition], list(outputs), name=name, **branches))
