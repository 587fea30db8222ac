"""A graph through tf2onnx, from a model on the TensorFlow backend.

tf2onnx has no Erfc, by which TensorFlow computes the exact GELU, and cannot convert what
TensorFlow gives to XLA as a whole, as Keras does with grouped convolutions.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from fourier_trainers.keras.exporting.graph import Graph, cannot, input_names, root_cause
from fourier_trainers.keras.exporting.quiet import quiet
from fourier_trainers.keras.exporting.signature import Signature
from fourier_trainers.keras.exporting.weights import as_array, call_with

OPSET: Final = 18
"""The newest that tf2onnx writes."""

_OPTIMIZERS: Final = (
    "optimize_transpose",
    "fold_constants",
    "merge_duplication",
    "reshape_optimizer",
    "global_pool_optimizer",
    "remove_identity",
    "remove_back_to_back",
)
"""tf2onnx's own, without the one that takes an Einsum apart and stores its weight twice."""


def tensorflow_graph(model: Any, signature: Signature, weights: list[Any]) -> Graph:
    """Returns the graph of `model`.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: an operation that tf2onnx cannot convert.
    """
    with quiet():
        names = input_names(signature, weights)
        try:
            function = _traced(model, signature, weights, names)
            proto = _converted(function, names, model.name)
        except Exception as error:
            advice = "export a model without that operation"
            raise cannot(
                model.name, "tf2onnx cannot convert it", root_cause(error), advice
            ) from error
    _refuse_unknown(proto)
    return Graph(proto, "tf2onnx")


def _traced(model: Any, signature: Signature, weights: list[Any], names: list[str]) -> Any:
    """Returns the concrete function of inputs and weights."""
    import tensorflow as tf

    # tf2onnx wants the weights of recurrent layers as constants, and so are states of generators.
    fixed = {id(v) for layer in _recurrent(model) for v in layer.variables}
    known = {id(w) for w in weights}
    others = [v for v in model.variables if id(v) not in known]
    held = {id(v): as_array(v) for v in model.variables if id(v) in fixed or id(v) not in known}

    def call(*tensors: Any) -> list[Any]:
        inputs = tensors[: len(signature.inputs)]
        given = zip(weights, tensors[len(signature.inputs) :], strict=True)
        values = [constant(held[id(w)]) if id(w) in held else tensor for w, tensor in given]
        values += [constant(held[id(v)]) for v in others]
        outputs = call_with(model, signature, [*weights, *others], [*inputs, *values])
        return [tf.identity(output) for output in outputs]

    constant = tf.constant
    shapes = [(each.shape, each.dtype) for each in (*signature.inputs, *weights)]
    specs = [
        tf.TensorSpec(shape, dtype, name=name)
        for (shape, dtype), name in zip(shapes, names, strict=True)
    ]
    with _inlined():
        return tf.function(call, input_signature=specs).get_concrete_function()


@contextlib.contextmanager
def _inlined() -> Iterator[None]:
    """Lets functions inside the traced one become part of it, as those given to XLA do not."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _recurrent(model: Any) -> list[Any]:
    import keras

    layers = model._flatten_layers()  # noqa: SLF001 -- `layers` names the outermost alone
    return [layer for layer in layers if isinstance(layer, keras.layers.RNN)]


def _converted(function: Any, names: list[str], title: str) -> Any:
    """Returns the ModelProto of a concrete function whose inputs have these names."""
    import tensorflow as tf
    from tf2onnx import optimizer, tf_loader, tfonnx

    outputs = [tensor.name for tensor in function.outputs]
    inputs = [f"{name}:0" for name in names]
    if any(kept.dtype == tf.resource for _, kept in function.graph.captures):
        definition = tf_loader.from_function(function, inputs, outputs)
    else:
        definition = _with_constants(function)
    graph = tf.Graph()
    with graph.as_default(), tf_loader.tf_session(graph=graph):
        tf.import_graph_def(definition, name="")
        converted = tfonnx.process_tf_graph(
            graph,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, []), "Einsum": (_einsum, [])},
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=dict(zip(inputs, names, strict=True)),
        )
    known = optimizer._get_optimizers()  # noqa: SLF001 -- there is no other list of them
    chosen = {name: known[name] for name in _OPTIMIZERS if name in known}
    return optimizer.optimize_graph(converted, optimizers=chosen).make_model(title)


def _with_constants(function: Any) -> Any:
    """Returns the GraphDef of a concrete function, with the arrays that it captured in it."""
    import tensorflow as tf

    definition = function.graph.as_graph_def(add_shapes=True)
    values = {inner.op.name: outer for outer, inner in function.graph.captures}
    for node in definition.node:
        if node.name in values:
            array = values[node.name].numpy()
            node.op = "Const"
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
            for key in set(node.attr) - {"value", "dtype"}:
                del node.attr[key]
    return definition


def _erfc(context: Any, node: Any, *_: Any) -> None:
    """Writes Erfc(y) as 1 - Erf(y), and for y = -x / sqrt(2), the exact GELU's, as Erf(-y) + 1.

    The latter is the form that ONNX Runtime runs as one Gelu. Both are exact to 6e-8 of the 2 that
    Erfc reaches; the relative precision of its far tail, which Erfc is for, is lost. A GELU's tail
    is multiplied by x and stays below 2e-7, as it does in torch.
    """
    from tf2onnx.utils import make_name

    one = context.make_const(make_name("one"), np.array(1, np.float32)).output[0]
    negated = _negated(node.inputs[0])
    if negated is None:
        kind, argument = "Sub", node.input[0]
    else:
        root = context.make_const(make_name("root"), np.array(math.sqrt(2), np.float32)).output[0]
        kind, argument = "Add", context.make_node("Div", [negated, root]).output[0]
    erf = context.make_node("Erf", [argument]).output[0]
    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    operands = [one, erf] if kind == "Sub" else [erf, one]
    context.remove_node(node.name)
    context.make_node(
        kind, operands, outputs=node.output, name=node.name, shapes=[shape], dtypes=[dtype]
    )


def _negated(node: Any) -> str | None:
    """Returns the x of a node that computes -x * sqrt(0.5); None of any other node."""
    if node is None or node.type != "Mul":
        return None
    for neg, factor in (node.inputs, node.inputs[::-1]):
        if neg is not None and neg.type == "Neg" and factor is not None and factor.is_const():
            value = np.asarray(factor.get_tensor_value(as_list=False))
            if value.size == 1 and abs(float(value.item()) - math.sqrt(0.5)) < 1e-6:
                return str(neg.input[0])
    return None


def _einsum(_: Any, node: Any, *__: Any) -> None:
    """Leaves an Einsum as it is, its weight with all its axes."""
    del node.attr["N"]
    node.attr["equation"].s = node.attr["equation"].s.lower()


def _refuse_unknown(proto: Any) -> None:
    """Check that ONNX knows every operator, which tf2onnx only says in a log.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: names operators and the layers that use them.
    """
    import onnx

    from fourier_trainers.keras.exporting.graph import graphs_of

    versions = {opset.domain: opset.version for opset in proto.opset_import}
    unknown = {
        (node.op_type, node.name)
        for graph in graphs_of(proto.graph)
        for node in graph.node
        if not onnx.defs.has(node.op_type, versions.get(node.domain, OPSET), node.domain)
    }
    if unknown:
        found = sorted(unknown)
        where = found[0][1].rpartition("/")[0] or found[0][1]
        names = ", ".join(sorted({kind for kind, _ in found}))
        problem = "tf2onnx cannot convert operations of TensorFlow"
        raise cannot(where, problem, names, "export a model without them")
