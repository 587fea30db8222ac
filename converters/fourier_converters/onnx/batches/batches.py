"""Batches: on which axis of a value the batch lies, so that row r of it gets adapter r.

A wrong answer would hand rows to another's adapter. So the graph is followed from its inputs, node
by node, and what no rule proves has no answer. The inputs' first axis is taken for the batch (see
`leading`); a graph that then combines rows, as attention along that axis does, refutes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fourier_converters.onnx.batches.leading import OPEN_BATCH, leading
from fourier_converters.onnx.batches.numbers import BROKEN
from fourier_converters.onnx.batches.rows import SHARED, Lost, Rows, Shared, State, Step
from fourier_converters.onnx.batches.sizes import UNKNOWN, Kind, Sizes
from fourier_converters.onnx.batches.table import rule_of
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.operators import ONNX
from fourier_converters.onnx.protos import subgraphs
from fourier_converters.onnx.surgery import opset

Order = Literal["only", "slowest", "fastest"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Where the batch lies.

    Attributes:
        axis: The axis.
        order: "only" where the axis is the batch: index i is row i. "slowest" where further axes
            are flattened into it, rows outside: i belongs to row i // (size / batch). "fastest"
            with the rows inside: i belongs to row i % batch.
        source: The graph input that the batch is an axis of.
        source_axis: That axis; 0 but where no input has the batch in front.
        rank: How many axes the value has; None where that is not known.
    """

    axis: int
    order: Order
    source: str
    source_axis: int = 0
    rank: int | None = None


class Batches:
    """Answers for one model, as it was when this was made."""

    def __init__(self, model: Model) -> None:
        """Follow the batch through `model`."""
        self._model: Final = model
        self._given: Final = leading(model.proto.graph)
        self._sizes: Final = Sizes(model, self._given.symbols)
        self._states: Final[dict[Value, State]] = {}
        self._version = opset(model)
        self._steps_left = _MOST_STEPS
        self._scopes = {id(scope.graph): index for index, scope in enumerate(model.scopes)}
        self._refuted = self._given.problem
        if not self._refuted:
            self._read_inputs()
            try:
                self._run(0)
                self._refuted = self._refutation()
            except _EndlessError:
                self._refuted = "its Loops, one in the other, are too many to be followed"

    def of(self, value: Value) -> Batch | None:
        """Returns where the batch lies in `value`; None where that is not proven."""
        rows = self._rows(value)
        if rows is None:
            return None
        inside = rows.inner == 1
        order: Order = "fastest" if rows.outer != 1 else "only" if inside else "slowest"
        shape = self._sizes.shape(value)
        rank = None if shape is None else len(shape)
        return Batch(rows.axis, order, self._given.source, self._axis(), rank)

    def why(self, value: Value) -> str:
        """Returns in words why `of` has no answer, "" where it has one."""
        if self._rows(value) is not None:
            return ""
        if self._refuted:
            return self._refuted
        state = self._states.get(value, SHARED)
        if isinstance(state, Lost):
            return state.why
        if isinstance(state, Rows):
            return "the batch has other axes on both sides of it, flattened into one"
        return "all rows share it: it is computed from no input that has the batch"

    def _rows(self, value: Value) -> Rows | None:
        if self._refuted:
            return None
        state = self._states.get(value, SHARED)
        if isinstance(state, Shared):
            return self._repeated(value)
        if not isinstance(state, Rows) or (state.outer != 1 and state.inner != 1):
            return None
        return state

    def _repeated(self, value: Value) -> Rows | None:
        """What all rows share can have been repeated for each: one axis is as long as the batch."""
        shape = self._sizes.shape(value)
        if self._given.batch != OPEN_BATCH or shape is None or None in shape or self._coincides():
            return None
        at = [
            axis for axis, size in enumerate(shape) if size is not None and size % OPEN_BATCH == 0
        ]
        return Rows(at[0]) if len(at) == 1 and shape[at[0]] == OPEN_BATCH else None

    def _coincides(self) -> bool:
        """Whether a size of the model's own could be taken for the batch's."""
        stored = self._model.scopes[0].tensors.values()
        return any(size % OPEN_BATCH == 0 for tensor in stored for size in tensor.dims if size)

    def _refutation(self) -> str:
        """Returns why the axis that was taken for the batch may be none.

        An axis that is not called the batch is only supposed to be it, until all outputs have it.
        """
        given = self._given
        supposed = f"axis {self._axis()} of {given.source!r}"
        for output in self._model.proto.graph.output:
            state = self._states.get(Value(0, output.name))
            if isinstance(state, Lost) and state.mixed:
                return f"{supposed} is not the batch: {state.why}"
            if isinstance(state, Lost) and not given.named:
                return f"{supposed} is not named 'batch', and need not be it: {state.why}"
        return ""

    def _axis(self) -> int:
        return next(i.axis or 0 for i in self._given.inputs if i.name == self._given.source)

    def _read_inputs(self) -> None:
        for given in self._given.inputs:
            value = Value(0, given.name)
            self._sizes.learn(value, Kind(given.dtype, given.sizes))
            if given.axis is not None:
                self._states[value] = Rows(given.axis)
            elif not given.shared:
                self._states[value] = Lost(f"input {given.name!r} does not say how rows lie in it")

    def _run(self, scope: int) -> None:
        if scope:
            self._steps_left -= len(self._model.scopes[scope].nodes)
        if self._steps_left < 0:
            raise _EndlessError
        for node in self._model.scopes[scope].nodes:
            if node.op_type in _BODIES and node.domain in ONNX:
                self._enter(scope, node)
                continue
            self._sizes.visit(scope, node)
            states = self._after(scope, node)
            for slot, name in enumerate(node.output):
                if name:
                    state = states[slot] if slot < len(states) else states[-1]
                    self._states[Value(scope, name)] = state

    def _after(self, scope: int, node: Any) -> Sequence[State]:
        """Returns the states of a node's outputs; the last also for those behind it."""
        model, sizes = self._model, self._sizes
        given = [model.resolve(scope, name) if name else None for name in node.input]
        states = [None if v is None else self._read(v) for v in given]
        step = Step(
            node=node,
            states=states,
            kinds=[UNKNOWN if v is None else sizes.kind(v) for v in given],
            numbers=[None if v is None else sizes.number(v) for v in given],
            outputs=[sizes.kind(Value(scope, name)) for name in node.output],
            batch=self._given.batch or 1,
            version=self._version,
            trusted=self._given.named,
            named=_named(node),
        )
        return _follow(step)

    def _read(self, value: Value) -> State:
        """Returns the state of what a node reads; ONNX Runtime takes nodes in any order."""
        found = self._states.get(value)
        if found is None and self._model.producer(value) is not None:
            return Lost(f"{value.name!r} is read before the node that computes it")
        return found or SHARED

    def _enter(self, scope: int, node: Any) -> None:
        """If gives what both branches give, Loop what its body keeps; Scan is not followed."""
        graphs = list(subgraphs(node))
        bodies = [self._scopes[id(graph)] for graph in graphs]
        outputs = [Value(scope, name) for name in node.output]
        if not _is_followed(node, graphs):
            self._pass_by(node, bodies, outputs)
        elif node.op_type == "Loop":
            self._loop(scope, node, bodies[0], outputs)
        else:
            self._branch(node, bodies, outputs)

    def _pass_by(self, node: Any, bodies: Sequence[int], outputs: Sequence[Value]) -> None:
        lost = Lost(f"{_named(node)} is not followed")
        for body in bodies:
            for value in self._model.scopes[body].graph.input:
                self._states[Value(body, value.name)] = lost
            self._run(body)
        for value in outputs:
            self._states[value] = lost
            self._sizes.learn(value, UNKNOWN)

    def _branch(self, node: Any, bodies: Sequence[int], outputs: Sequence[Value]) -> None:
        for body in bodies:
            self._run(body)
        for slot, value in enumerate(outputs):
            ends = [self._end(body, slot) for body in bodies]
            self._states[value] = _joined(node, [self._states.get(end, SHARED) for end in ends])
            kinds = {self._sizes.kind(end) for end in ends}
            self._sizes.learn(value, kinds.pop() if len(kinds) == 1 else UNKNOWN)

    def _end(self, body: int, slot: int) -> Value:
        return self._model.resolve(body, self._model.scopes[body].graph.output[slot].name)

    def _loop(self, scope: int, node: Any, body: int, outputs: Sequence[Value]) -> None:
        """A carried value has its batch where it had it before, if the body puts it there again."""
        graph = self._model.scopes[body].graph
        before = [self._model.resolve(scope, name) if name else None for name in node.input[2:]]
        states = [SHARED if v is None else self._states.get(v, SHARED) for v in before]
        kinds = [UNKNOWN if v is None else self._sizes.kind(v) for v in before]
        lost = Lost(f"{_named(node)} carries it round with the batch elsewhere each time")
        for _ in range(len(states) + 1):
            inside = [Value(body, value.name) for value in graph.input]
            self._sizes.kinds.update(zip(inside[:2], (Kind(7, ()), Kind(9, ())), strict=False))
            for value, state, kind in zip(inside[2:], states, kinds, strict=False):
                self._states[value], self._sizes.kinds[value] = state, kind
            self._forget(body, keep=set(inside))
            self._run(body)
            ends = [self._end(body, slot + 1) for slot in range(len(states))]
            after = [self._states.get(end, SHARED) for end in ends]
            shapes = [self._sizes.kind(end) for end in ends]
            if after == states and shapes == kinds:
                break
            states = [s if s == a else lost for s, a in zip(states, after, strict=True)]
            kinds = [k if k == a else Kind(k.dtype) for k, a in zip(kinds, shapes, strict=True)]
        for slot, value in enumerate(outputs):
            carried = slot < len(states)
            self._states[value] = states[slot] if carried else Lost(f"{_named(node)} stacks it")
            self._sizes.learn(value, kinds[slot] if carried else UNKNOWN)

    def _forget(self, body: int, keep: set[Value]) -> None:
        """Drop what an earlier run of a body found, so that the next sees other sizes."""
        inner = {body}
        for index, scope in enumerate(self._model.scopes):
            if scope.parent in inner:
                inner.add(index)
        for known in (self._states, self._sizes.kinds, self._sizes.numbers):
            for value in [v for v in known if v.scope in inner and v not in keep]:
                del known[value]


_BODIES: Final = frozenset({"If", "Loop", "Scan"})
_MOST_STEPS: Final = 1 << 17
"""Nodes of bodies that are visited: a Loop's several times, and those of Loops in it again."""


class _EndlessError(Exception):
    """Loops in Loops would take forever to follow."""


def _is_followed(node: Any, graphs: Sequence[Any]) -> bool:
    """Whether it is an If or a Loop whose bodies take and give what its definition says."""
    given = [len(graph.output) for graph in graphs]
    if node.op_type == "If":
        return len(graphs) == 2 and min(given) >= len(node.output)
    carried = max(0, len(node.input) - 2)
    takes = len(graphs) == 1 and len(graphs[0].input) >= carried + 2
    return node.op_type == "Loop" and takes and given[0] > carried


def _follow(step: Step) -> Sequence[State]:
    node, states = step.node, [state for state in step.states if state is not None]
    if node.op_type in {"Shape", "Size"} and node.domain in ONNX:
        state = step.state(0)
        known = not isinstance(state, Lost) or step.shape(0) is not None
        return [SHARED if known else state]  # a size is no row
    if all(isinstance(state, Shared) for state in states):
        return [SHARED]
    rule = rule_of(node.domain, node.op_type)
    if rule is None:
        mixed = next((s for s in states if isinstance(s, Lost) and s.mixed), None)
        return [mixed or step.lost("is not known to leave rows where they are")]
    try:
        result = rule(step)
    except BROKEN:
        return [step.lost("breaks its operator's definition")]
    found = result if isinstance(result, list) else [result]
    return [_ordered(_plain(state, step), step) for state in found]


_IN_ORDER: Final = frozenset(
    {"Add", "Cast", "Div", "Dropout", "Erf", "FusedMatMul", "Gelu", "Gemm", "Identity"}
    | {"LayerNormalization", "MatMul", "Mul", "Pow", "Relu", "Reshape", "Sigmoid", "Softmax"}
    | {"Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"}
)
"""Operators that leave rows in their order, on whatever axis they are."""


def _ordered(state: State, step: Step) -> State:
    """Rows of which nobody knows the axis may be reversed or picked by what others read."""
    if isinstance(state, Lost) and state.unread and step.node.op_type not in _IN_ORDER:
        return Lost(state.why, state.mixed)
    return state


def _plain(state: State, step: Step) -> State:
    """What is true or false of combined rows refutes nothing: it may be a condition of the model's.

    So do the numbers that it counts.
    """
    if not isinstance(state, Lost) or not state.mixed:
        return state
    dtype = step.outputs[0].dtype if step.outputs else 0
    return state if dtype in {0, 1, 10, 11, 16} else Lost(state.why)


def _joined(node: Any, states: Sequence[State]) -> State:
    lost = next((state for state in states if isinstance(state, Lost)), None)
    if lost is not None:
        return lost
    if all(state == states[0] for state in states):
        return states[0]
    return Lost(f"{_named(node)} gives what one branch has with the batch elsewhere")


def _named(node: Any) -> str:
    return f"{node.op_type} {node.name[:80]!r}" if node.name else f"a {node.op_type} without a name"
