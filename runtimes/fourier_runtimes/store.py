"""The store of adapters: what each of them feeds, in one table for each input of the graph.

Coefficients take what their numbers take, in memory or in a folder's mapped files. A name stands
for what was loaded last under it; whoever gathered from an adapter before it went has a copy.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from fourier_format.adapter import Adapter, Array
from fourier_format.errors import (
    InvalidAdapterError,
    UnknownAdapterError,
    UnsupportedError,
    Violation,
)
from fourier_format.live import Interface
from fourier_runtimes import holding, index
from fourier_runtimes.failures import StaleError
from fourier_runtimes.holding import Held
from fourier_runtimes.layouts import Layout, Move, layouts_of, moves
from fourier_runtimes.rows import Blend, Rows
from fourier_runtimes.tables import Precision, Table


class Store:
    """Adapters by name; thread-safe.

    Attributes:
        interface: The graph that the adapters are held for.
        lock: Held briefly by every method; who holds it sees no change between two calls.
    """

    def __init__(
        self, interface: Interface, precision: Precision = "float32", folder: Path | None = None
    ) -> None:
        """Opens the store; a folder that was a store before has its adapters again.

        Raises:
            BaseMismatchError: The folder holds adapters of another graph or precision.
            InvalidAdapterError: Its index is broken.
            FileAccessError: It cannot be read or written, or another process has it open.
        """
        self.lock = threading.RLock()
        self.interface = interface
        self._precision: Precision = precision
        self._folder = folder
        self._held: dict[str, Held] = {}
        self._serials = itertools.count()
        self._dirty = False
        self._changed: Callable[[str], None] = lambda _: None
        self._guard: IO[bytes] | None = None if folder is None else index.guarded(folder)
        self._layouts = layouts_of(interface)
        try:
            self._tables = {i: self._table(layout) for i, layout in self._layouts.items()}
            if folder is not None:
                self._find_again(folder)
        except BaseException:
            self._let_go()
            raise

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they were loaded."""
        with self.lock:
            return list(self._held)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def __len__(self) -> int:
        return len(self._held)

    def watch(self, changed: Callable[[str], None]) -> None:
        """Have `changed` called with each name that is put or removed, while the lock is held."""
        self._changed = changed

    def known(self, name: str) -> tuple[int | None, str | Adapter | None]:
        """Returns what tells `name` from what was or will be loaded under it, and its origin.

        The origin is the path or URL that it was loaded from, or what was in memory; None where
        that is not known. Of a name that nothing is loaded under, both are None.
        """
        with self.lock:
            held = self._held.get(name)
            return (None, None) if held is None else (held.serial, held.origin)

    def holds(self, name: str, values: Mapping[str, Array]) -> bool:
        """Whether `values`, by input, are those of `name`, as exactly as they are stored."""
        with self.lock:
            slots = self._get(name).slots
            return slots.keys() == values.keys() and all(
                self._tables[input_].has(slot, values[input_]) for input_, slot in slots.items()
            )

    def put(
        self,
        name: str,
        values: Mapping[str, Array],
        alpha: float,
        origin: str | Adapter | None = None,
    ) -> None:
        """Hold `values`, by input, under `name`; what was there is gone.

        Args:
            name: The name.
            values: (*layout) float32 by input.
            alpha: What float16 rows are divided by; any number is good, the adapter's alpha best.
            origin: The path or URL of the adapter, or itself, for `origin`.

        Raises:
            FileAccessError: The disk of the store's folder is full.
            StaleError: The graph has no such input by now, or the store is closed.
        """
        with self.lock:
<<<<<<< HEAD
            held = Held({}, next(self._serials), origin)
=======
            if not values.keys() <= self._tables.keys():
                raise StaleError
            held = _Held({}, next(self._serials), origin)
>>>>>>> main
            try:
                for input_, fed in values.items():
                    held.slots[input_] = self._tables[input_].add(fed, alpha)
            except BaseException:
                self._free(held)
                raise
            if self._folder is not None:
                held.digests = {i: self._tables[i].digest(s) for i, s in held.slots.items()}
            before = self._held.pop(name, None)
            self._held[name] = held
            if before is not None:
                self._free(before)
            self._dirty = True
            self._changed(name)

    def remove(self, name: str) -> None:
        """Let go of `name`.

        Raises:
            UnknownAdapterError: There is none.
        """
        with self.lock:
            self._free(self._get(name))
            del self._held[name]
            self._dirty = True
            self._changed(name)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns those of `names` that are not here."""
        with self.lock:
            return [name for name in names if name not in self._held]

    def touched(self, blends: Sequence[Blend]) -> list[str]:
        """Returns the inputs that one of the blends' adapters feeds, in the graph's order."""
        with self.lock:
            of = {i for blend in blends for name, _ in blend for i in self._get(name).slots}
            return [input_ for input_ in self._layouts if input_ in of]

    def serials(self, blend: Blend) -> tuple[tuple[int, float], ...]:
        """Returns what stands for the blend's values until one of its adapters changes."""
        with self.lock:
            return tuple((self._get(name).serial, weight) for name, weight in blend)

    def compose(self, blend: Blend) -> dict[str, Array]:
        """Returns what a blend feeds, fresh (*layout) float32 by input; others are zeros.

        Raises:
            UnknownAdapterError: One of its adapters is not here.
            InvalidAdapterError: E-DIGEST: what the folder holds of one was changed; it is let go.
            UnsupportedError: E-NUMBER-NONFINITE: the sum is beyond float32.
        """
        with self.lock:
            composed = {}
            for input_ in self.touched((blend,)):
                composed[input_] = np.empty(self._layouts[input_].shape, np.float32)
                self._fill(composed[input_], input_, blend)
            return composed

    def gather(self, rows: Rows) -> dict[str, Array]:
        """Returns what a batch feeds, fresh [1 or rows, *layout] float32, by input.

        One row stands for all where all ask for the same; inputs that no row touches are absent.
        Raises as `compose`.
        """
        gathered = {}
        with self.lock:
            for input_ in self.touched(rows.blends):
                shape = (len(rows.blends), *self._layouts[input_].shape)
                gathered[input_] = np.empty(shape, np.float32)
                for row, blend in enumerate(rows.blends):
                    self._fill(gathered[input_][row], input_, blend)
        if rows.index == tuple(range(len(rows.blends))):
            return gathered
        return {input_: values[rows.indices] for input_, values in gathered.items()}

    @contextlib.contextmanager
    def serving(self, interface: Interface) -> Iterator[None]:
        """Holds the lock in the block.

        Raises:
            StaleError: By now the adapters are held for another graph than `interface`'s.
        """
        with self.lock:
            if self.interface is not interface:
                raise StaleError
            yield

    def adopt(self, interface: Interface) -> None:
        """Go on with a graph that was made anew and has every input of the old one.

        Where it fails, the store is as it was.

        Raises:
            UnsupportedError: E-LIVE-LAYOUT: it lacks the input of an adapter that is here.
            FileAccessError: The disk of the store's folder is full.
        """
        with self.lock:
            goes = moves(self.interface, interface)
            lost = {i for held in self._held.values() for i in held.slots if i not in goes}
            if lost:
                problem = f"the graph that was made anew has no place for {min(lost)}"
                raise UnsupportedError(Violation("E-LIVE-LAYOUT", "the live graph", problem))
            layouts = layouts_of(interface)
            kept = {m.input: self._tables[i] for i, m in goes.items() if m.rows is None}
            before = self.interface, self._layouts, self._tables, self._held, self._dirty
            tables = dict(kept)
            try:
                tables |= {i: self._table(layouts[i]) for i in layouts if i not in kept}
                held = {n: self._moved(h, tables, goes) for n, h in self._held.items()}
                self._tables = {i: tables[i] for i in layouts}
                self.interface, self._layouts, self._held = interface, layouts, held
                self._dirty = True
                self.flush()
            except BaseException:
                self.interface, self._layouts, self._tables, self._held, self._dirty = before
                _drop(tables, kept)
                raise
            _drop(before[2], kept)

    def _moved(self, held: Held, tables: Mapping[str, Table], goes: Mapping[str, Move]) -> Held:
        moved = replace(held, slots={}, digests={})
        for input_, slot in held.slots.items():
            move = goes[input_]
            if move.rows is None:
                moved.slots[move.input] = slot
                if input_ in held.digests:
                    moved.digests[move.input] = held.digests[input_]
                continue
            table = tables[move.input]
            moved.slots[move.input] = table.copy(self._tables[input_], slot, move.rows)
            if self._folder is not None:
                moved.digests[move.input] = table.digest(moved.slots[move.input])
        return moved

    def flush(self) -> None:
        """Write the index of a store in a folder, if anything changed; atomically.

        Raises:
            FileAccessError: Writing failed.
        """
        with self.lock:
            if self._folder is None or not self._dirty:
                return
            for table in self._tables.values():
                table.sync()
            entries = holding.entries(self._held, self._layouts)
            index.write(self._folder, self._precision, entries)
            for table in self._tables.values():
                table.release()
            self._dirty = False

    def close(self) -> None:
        """Write the index and let go of the folder; it serves no graph any more."""
        with self.lock:
            try:
                self.flush()
            finally:
                self.interface = Interface(banks=())
                self._folder = None
                self._held.clear()
                self._tables = {}
                self._let_go()

    def _get(self, name: str) -> Held:
        try:
            return self._held[name]
        except KeyError:
            raise unknown(name) from None

    def _fill(self, out: Array, input_: str, blend: Blend) -> None:
        table, terms = self._tables[input_], []
        for name, weight in blend:
            held = self._get(name)
            if not held.checked:
                self._check(name, held)
            if input_ in held.slots:
                terms.append((table.read(held.slots[input_]), weight))
        if len(terms) == 1 and terms[0][1] == 1.0:
            out[...] = terms[0][0]
            return
        total = np.zeros(out.shape, np.float64)
        for values, weight in terms:
            total += np.multiply(values, weight, dtype=np.float64)
        with np.errstate(over="ignore"):
            out[...] = total
        if not np.isfinite(out).all():
            problem = "the weighted sum of coefficients is not finite in float32"
            name = " + ".join(name for name, _ in blend)
            raise UnsupportedError(Violation("E-NUMBER-NONFINITE", name, problem))

    def _check(self, name: str, held: Held) -> None:
        if any(self._tables[i].digest(slot) != held.digests[i] for i, slot in held.slots.items()):
            self.remove(name)
            problem = "what the store's folder holds of this adapter was changed"
            advice = "load it again"
            raise InvalidAdapterError(Violation("E-DIGEST", name, problem, advice=advice))
        held.checked = True

    def _free(self, held: Held) -> None:
        for input_, slot in held.slots.items():
            self._tables[input_].free(slot)

    def _table(self, layout: Layout) -> Table:
        suffix = "f32" if self._precision == "float32" else "f16"
        path = None if self._folder is None else self._folder / f"{layout.key}.{suffix}"
        return Table(layout.shape, self._precision, path)

    def _find_again(self, folder: Path) -> None:
        self._held = holding.found(folder, self._precision, self._layouts, self._serials)
        for input_, table in self._tables.items():
            used = [held.slots[input_] for held in self._held.values() if input_ in held.slots]
            if not table.take(used):
                raise index.broken(folder / index.NAME, "slots that are not there")

    def _let_go(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def _drop(tables: Mapping[str, Table], kept: Mapping[str, Table]) -> None:
    for table in tables.values():
        if table not in kept.values():
            table.drop()


def unknown(name: str, near: Sequence[str] = (), where: str | None = None) -> UnknownAdapterError:
    """Returns the error for a name that nothing is loaded under."""
    problem = "no adapter of this name is loaded"
    if where is not None:
        problem += f", and {where} has none"
    advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "load it first"
    return UnknownAdapterError(Violation("E-ADAPTER-UNKNOWN", name, problem, advice=advice))
