"""A graph through torch's dynamo exporter, from a model on the torch backend."""

from __future__ import annotations

from typing import Any

from fourier_trainers.keras.exporting.graph import Graph, cannot, input_names, root_cause
from fourier_trainers.keras.exporting.quiet import quiet
from fourier_trainers.keras.exporting.signature import Signature
from fourier_trainers.keras.exporting.weights import call_with


def torch_graph(model: Any, signature: Signature, weights: list[Any], sample: list[Any]) -> Graph:
    """Returns the graph of `model`, traced with the arrays of `sample`.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: the exporter fails, or fixes a size that varies.
    """
    import torch

    class Call(torch.nn.Module):
        """The model as a function of its inputs and its weights."""

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            return tuple(call_with(model, signature, weights, tensors))

    given = [_tensor(array) for array in sample] + [w.value.detach() for w in weights]
    free = torch.export.Dim.DYNAMIC
    shapes = [
        {axis: free for axis, size in enumerate(each.shape) if size is None}
        for each in signature.inputs
    ] + [{} for _ in weights]
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                Call().eval(),
                tuple(given),
                dynamo=True,
                verbose=False,
                input_names=input_names(signature, weights),
                dynamic_shapes={"tensors": tuple(shapes)},
            )
        except Exception as error:
            raise cannot(model.name, "torch.onnx.export fails", root_cause(error)) from error
    if program is None:
        raise cannot(model.name, "torch.onnx.export returned nothing")
    proto = program.model_proto
    _refuse_fixed(proto, signature)
    return Graph(proto, "torch.onnx.export")


def _tensor(array: Any) -> Any:
    import keras

    return keras.ops.convert_to_tensor(array)


def _refuse_fixed(proto: Any, signature: Signature) -> None:
    """Check that sizes which may vary do so in the graph.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: the exporter fixed one, as it unrolls RNNs.
    """
    for tensor, value in zip(signature.inputs, proto.graph.input, strict=False):
        dims = value.type.tensor_type.shape.dim
        for axis, (size, dim) in enumerate(zip(tensor.shape, dims, strict=True)):
            if size is None and dim.HasField("dim_value"):
                problem = f"torch.onnx.export fixes the size of axis {axis} to that of the sample"
                raise cannot(tensor.name, problem, str(dim.dim_value), "give it a fixed size")
