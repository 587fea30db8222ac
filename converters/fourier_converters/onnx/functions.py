"""Model-local functions: those in which a weight could be read are replaced by their bodies.

A function is called with different weights, so a change inside it would be a change for every call.
onnx's own inliner does the work; names, node metadata and subgraphs are kept. It is told of no
functions that call themselves, and of none whose bodies would fill the memory: thirty functions
that call the next one twice are a billion nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final, NoReturn

from fourier_converters.onnx.operators import reads_parameters
from fourier_converters.onnx.protos import all_nodes
from fourier_format.errors import UnsupportedError, Violation

LARGEST: Final = 250_000
"""Nodes that the graph and all functions may have, each inlined; large models have 20 000."""

_Key = tuple[str, str]
"""A function's domain and name."""


def inline_functions(proto: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """Returns the model with such functions inlined, and their names; the same one without any.

    Raises:
        UnsupportedError: A function calls itself, or the result would be too large.
    """
    called = {(f.domain, f.name): _called(f.node) for f in proto.functions}
    wanted = _with_callers(
        {(f.domain, f.name) for f in proto.functions if any(map(reads_parameters, f.node))}, called
    )
    if not wanted:
        return proto, ()
    _refuse_bombs(proto, called, path)
    from onnx import inliner

    try:
        inlined = inliner.inline_selected_functions(proto, sorted(wanted), exclude=False)
    except Exception as error:  # noqa: BLE001 -- whatever the C++ code finds wrong with them
        _refuse(path, f"its functions cannot be inlined: {error}")
    return inlined, tuple(sorted(name for _, name in wanted))


def _called(nodes: Iterable[Any]) -> list[_Key]:
    return [(node.domain, node.op_type) for node in all_nodes(nodes)]


def _with_callers(wanted: set[_Key], called: Mapping[_Key, list[_Key]]) -> set[_Key]:
    """Returns the functions with those that call them: they hold weights, too."""
    callers: dict[_Key, set[_Key]] = defaultdict(set)
    for caller, keys in called.items():
        for key in keys:
            callers[key].add(caller)
    found, new = set(wanted), list(wanted)
    while new:
        further = callers[new.pop()] - found
        found |= further
        new += further
    return found


def _refuse_bombs(proto: Any, called: Mapping[_Key, list[_Key]], path: Path) -> None:
    """Check that inlining comes to an end, and to a size that can be handled."""
    sorter = TopologicalSorter(
        {key: {other for other in keys if other in called} for key, keys in called.items()}
    )
    try:
        order = list(sorter.static_order())  # the called ones first
    except CycleError as error:
        names = " -> ".join(name for _, name in reversed(error.args[1][:8]))
        _refuse(path, f"its functions call themselves: {names}")
    size: dict[_Key, int] = {}
    for key in order:
        inner = [other for other in called[key] if other in size]
        size[key] = len(called[key]) + sum(size[other] for other in inner)
    nodes = _called(proto.graph.node)
    whole = len(nodes) + sum(size.get(key, 0) for key in nodes) + sum(size.values())
    if whole > LARGEST:
        _refuse(path, f"its functions would become more than {LARGEST} nodes")


def _refuse(path: Path, problem: str) -> NoReturn:
    advice = "export the model without functions, or inline them with onnx.inliner"
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))
