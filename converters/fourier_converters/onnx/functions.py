"""Model-local functions: those in which a weight could be read are replaced by their bodies.

A function is called with different weights, so a change inside it would be a change for every call.
onnx's own inliner does the work; names, node metadata and subgraphs are kept.
"""

from __future__ import annotations

from typing import Any

from fourier_converters.onnx.operators import reads_parameters


def inline_functions(proto: Any) -> tuple[Any, tuple[str, ...]]:
    """Returns the model with such functions inlined, and their names; the same one without any."""
    functions = {(f.domain, f.name): f for f in proto.functions}
    wanted = {key for key, f in functions.items() if any(map(reads_parameters, f.node))}
    while True:  # a function that calls one of them holds a weight, too
        callers = {
            key
            for key, f in functions.items()
            if any((node.domain, node.op_type) in wanted for node in f.node)
        }
        if callers <= wanted:
            break
        wanted |= callers
    if not wanted:
        return proto, ()
    from onnx import inliner

    inlined = inliner.inline_selected_functions(proto, sorted(wanted), exclude=False)
    return inlined, tuple(sorted(name for _, name in wanted))
