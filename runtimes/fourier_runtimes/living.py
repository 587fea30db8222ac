"""A base on its providers: its graph, made anew where adapters need it, with an open session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fourier_format.adapter import Adapter
from fourier_format.errors import InvalidAdapterError, UsageError, Violation
from fourier_format.live import Fitter, Interface
from fourier_runtimes import graphs
from fourier_runtimes.activators import Activator
from fourier_runtimes.devices import DeviceTables
from fourier_runtimes.failures import serving_errors
from fourier_runtimes.feeding import Declared
from fourier_runtimes.graphs import Graph
from fourier_runtimes.providers import (
    Provider,
    device_of,
    lent,
    name_of,
    opened,
    options_like,
    quiet_options,
    without_graphs,
)
from fourier_runtimes.runners import BoundRunner, FedRunner, FixedRunner, Runner
from fourier_runtimes.store import Store

Binding = Literal["auto", "fed", "bound", "fixed"]


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """One live graph with its session; another takes its place when it is made anew.

    Attributes:
        session: The InferenceSession.
        interface: What the graph says of itself.
        fitter: Fits adapters to it.
        runner: Runs batches.
        declared: The shapes of its inputs, adapters' left out.
    """

    session: Any
    interface: Interface
    fitter: Fitter
    runner: Runner
    declared: Declared


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A base and how it is opened.

    Attributes:
        model: Its path, or its bytes.
        options: ONNX Runtime's session options, or what makes them; None for its own.
        providers: The execution providers.
        strict: Whether one that does not work is an error.
        binding: How values reach the graph.
        device_bytes: What adapters may take of the device.
    """

    model: bytes | str
    options: Any
    providers: Sequence[Provider]
    strict: bool
    binding: Binding
    device_bytes: int

    @property
    def name(self) -> str:
        """What errors call it."""
        return graphs.name_of(self.model)

    def graph(self) -> Graph:
        """Returns its graph as it is; raises as `graphs.read`."""
        return graphs.read(self.model, self._options())

    def graph_for(self, adapters: Sequence[Adapter]) -> Graph:
        """Returns a graph with a place for each of `adapters`; raises as `graphs.made_live`."""
        options = self._options()
        static = device_of(self.providers).graphs
        return graphs.made_live(adapters, self.model, options, static=static)

    def opened(self, graph: Graph, store: Store) -> Live:
        """Returns `graph` with an open session, for the adapters in `store`.

        Raises:
            ServingError: ONNX Runtime refused, or a provider does not work here.
            InvalidAdapterError: E-LIVE-INTERFACE: the graph lacks an input that it tells of.
            UsageError: CUDA graphs of a graph with control flow.
        """
        strict = self.strict
        with lent(graph.options, graph.entries):
            session = opened(graph.model, graph.options, self.providers, self.name, strict=strict)
        interface = graph.interface
        self._check(session, interface)
        declared = {i.name: i.shape for i in session.get_inputs()}
        declared = {n: s for n, s in declared.items() if n not in interface.layouts}
        with serving_errors(self.name):
            runner = self._runner(session, store, interface)
        return Live(session, interface, Fitter(interface), runner, declared)

    def activator(self, plain: Path, budget: int) -> Activator:
        """Returns who makes merged sessions of `plain`, the model in a file."""
        from fourier_runtimes.activating import MergedSessions

        options = self.options
        if options is not None and not callable(options):
            options = partial(options_like, options)
        providers = without_graphs(self.providers)  # merged sessions run on the caller's arrays
        return MergedSessions(plain, providers=providers, options=options, budget=budget)

    def _options(self) -> Any:
        if self.options is None:
            return quiet_options()
        return self.options() if callable(self.options) else self.options

    def _check(self, session: Any, interface: Interface) -> None:
        has = {i.name for i in (*session.get_inputs(), *session.get_overridable_initializers())}
        for name in interface.layouts:
            if name not in has:
                problem = f"the graph tells of an input that it lacks: {name}"
                raise InvalidAdapterError(Violation("E-LIVE-INTERFACE", self.name, problem))

    def _runner(self, session: Any, store: Store, interface: Interface) -> Runner:
        providers = [p for p in self.providers if name_of(p) in session.get_providers()]
        device = device_of(providers)
        binding = self.binding
        if device.graphs and interface.layouts and not interface.static:
            problem = "CUDA graphs allow no control flow, and this live graph has some"
            advice = "convert the base with --live --static, or leave enable_cuda_graph out"
            raise UsageError(Violation("E-USAGE", self.name, problem, advice=advice))
        if binding == "auto":
            binding = "fixed" if device.graphs else "fed" if device.type == "cpu" else "bound"
        if binding == "fed" or not interface.layouts:
            return FedRunner(session, store, interface)
        tables = DeviceTables(store, interface, device, providers, self.device_bytes)
        if binding == "bound":
            return BoundRunner(session, tables)
        return FixedRunner(session, store, interface, tables, device)
