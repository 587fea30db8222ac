"""Activation: one adapter at full speed, merged at load into a base that was optimised once.

A merged session costs as much time as opening the base, so it is made in the background, and what
else serves the adapter goes on until it is there. The sessions used last are kept, as many as a
budget of bytes allows.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fourier_converters.onnx.convert import Found, find
from fourier_converters.onnx.preparing import Prepared, layout_of, prepare, same_places
from fourier_format.adapter import Adapter
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    TargetNotFoundError,
    UnknownAdapterError,
    UnsupportedError,
    UsageError,
    Violation,
)
from fourier_runtimes.graphs import live_text
from fourier_runtimes.optimised import Opening, optimised
from fourier_runtimes.providers import CPU, Provider, name_of, onnxruntime, opened

BUDGET: Final = 2**30
_LAYOUTS: Final = 8
"""How many layouts of adapters stay prepared; each holds a graph without its weights."""
_FAILURES: Final = 64
"""How many adapters that could not be merged are known as such."""
PER_GRAPH: Final = 20
"""Bytes that a session takes for each of its serialized graph, beside weights (measured: 15)."""
_OF_LIVE: Final = "give `plain`, the model that the live graph was made of"
_ELSEWHERE: Final = (TargetNotFoundError, BaseMismatchError, UnsupportedError)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """A base prepared for adapters of one layout.

    Attributes:
        prepared: The base.
        opening: Which file it is, and how it is opened.
    """

    prepared: Prepared
    opening: Opening


@dataclass(slots=True, eq=False)
class _Entry:
    """One adapter that was activated.

    Attributes:
        adapter: The adapter; None of one that failed.
        made: Gives the session once it is there, or the failure.
        session: The session, None until it is there.
        size: About how many bytes it takes.
    """

    adapter: Adapter | None
    made: Future[Any] = field(default_factory=Future)
    session: Any = None
    size: int = 0


class MergedSessions:
    """Merged sessions of one base, by the names of their adapters; threads may share it.

    Attributes:
        base: The .onnx file; of a live graph, to which nothing is fed, that of its base.
        budget: How many bytes the sessions may take together.
        notes: What the user should know of how the base is opened.
    """

    def __init__(
        self,
        base: str | os.PathLike[str],
        *,
        providers: Sequence[Provider] | None = None,
        options: Callable[[], Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        budget: int = BUDGET,
    ) -> None:
        """Nothing is read or made yet.

        Args:
            base: The .onnx file.
            providers: Execution providers that this installation has; the CPU's by default.
            options: Makes the ONNX Runtime session options of each session. Threads are each
                session's own, so that a machine of many cores may want few of them.
            cache: The folder in which optimised bases are kept, a user's own by default.
            budget: How many bytes the sessions may take together, as far as can be told: changed
                weights, and on other providers than the CPU's the whole base.
        """
        self.base: Final = Path(base)
        self.budget: Final = budget
        self.notes: Final[list[str]] = []
        self._providers: Final[list[Provider]] = [CPU] if providers is None else list(providers)
        self._options = options
        self._cache: Final = default_cache() if cache is None else Path(cache)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._layouts: OrderedDict[str, _Layout] = OrderedDict()
        self._opening: Opening | None = None
        self._closed = False
        self._lock: Final = threading.Lock()
        self._worker: Final = ThreadPoolExecutor(1, "fourier-activate")

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters whose sessions are ready, the one used last at the end."""
        with self._lock:
            return tuple(name for name, entry in self._entries.items() if entry.session is not None)

    @property
    def active(self) -> tuple[str, ...]:
        """The adapters whose sessions are ready or being made, the one used last at the end."""
        with self._lock:
            return tuple(name for name, entry in self._entries.items() if not _failed(entry))

    @property
    def size(self) -> int:
        """About how many bytes the sessions take."""
        with self._lock:
            return sum(entry.size for entry in self._entries.values())

    def activate(self, name: str, adapter: Adapter) -> None:
        """Begin to make the merged session of `adapter`, unless there is one or it is being made.

        One that failed is tried again; another adapter of this name takes the place of the first.

        Raises:
            UsageError: All is closed.
        """
        with self._lock:
            if self._closed:
                raise UsageError(Violation("E-USAGE", name, "the merged sessions are closed"))
            entry = self._entries.get(name)
            if entry is not None and entry.adapter is adapter and not _failed(entry):
                self._entries.move_to_end(name)
                return
            entry = self._entries[name] = _Entry(adapter)
            self._entries.move_to_end(name)
            self._worker.submit(self._run, name, entry)

    def deactivate(self, name: str) -> None:
        """Let go of the session of `name`, if there is one; runs that are on finish."""
        with self._lock:
            entry = self._entries.pop(name, None)
        if entry is not None:
            entry.made.cancel()

    def adapter_of(self, name: str) -> Adapter | None:
        """Returns the adapter of the session that is there, or being made, under `name`."""
        with self._lock:
            entry = self._entries.get(name)
            return None if entry is None or _failed(entry) else entry.adapter

    def session_for(self, name: str) -> Any | None:
        """Returns the merged InferenceSession of `name`, None while there is none."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.session is None:
                return None
            self._entries.move_to_end(name)
            return entry.session

    def wait(self, name: str, timeout: float | None = None) -> Any:
        """Returns the merged InferenceSession of `name`, once it is there.

        Raises:
            UnknownAdapterError: E-ADAPTER-UNKNOWN: it was not activated, or others took its place.
            TimeoutError: It is not there after `timeout` seconds.
            FourierFormatError: It could not be made; every call that waits is told.
        """
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            raise _unknown(name)
        try:
            return entry.made.result(timeout)
        except CancelledError:
            raise _unknown(name) from None

    def close(self) -> None:
        """Let go of all, once what is being made is done."""
        with self._lock:
            self._closed = True
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            entry.made.cancel()
        self._worker.shutdown(cancel_futures=True)
        self._layouts.clear()
        self._opening = None  # what is kept of the base may go now

    def _run(self, name: str, entry: _Entry) -> None:
        """Make one session, in the worker's thread."""
        adapter = entry.adapter
        if adapter is None or not entry.made.set_running_or_notify_cancel():
            return
        try:
            session, size = self._make(name, adapter)
        except BaseException as error:  # noqa: BLE001 -- for who waits
            del adapter  # the error's traceback holds this frame
            self._fail(entry, error)
            return
        with self._lock:
            if self._entries.get(name) is entry:
                entry.session, entry.size = session, size
                self._entries.move_to_end(name)
                self._evict(entry)
        entry.made.set_result(session)

    def _fail(self, entry: _Entry, error: BaseException) -> None:
        """Keep why a session could not be made, of those that failed last; not what it was for."""
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        with self._lock:
            entry.made.set_exception(error)
            entry.adapter = None
            failed = [name for name, other in self._entries.items() if _failed(other)]
            for name in failed[:-_FAILURES]:
                del self._entries[name]

    def _evict(self, newest: _Entry) -> None:
        """Let go of those used longest ago, until the budget is kept."""
        total = sum(entry.size for entry in self._entries.values())
        for name, entry in list(self._entries.items()):
            if total <= self.budget:
                return
            if entry.session is not None and entry is not newest:
                del self._entries[name]
                total -= entry.size

    def _make(self, name: str, adapter: Adapter) -> tuple[Any, int]:
        """Returns the merged session and about how many bytes it takes."""
        layout = self._layout(adapter)
        merged = layout.prepared.merged(adapter, self._session_options(layout.opening))
        size = self._size(layout, merged.size, len(merged.model))
        if size > self.budget:
            problem = "a merged session of this adapter takes more than the budget for them"
            got, expected = f"about {size} bytes", f"at most {self.budget}"
            raise UsageError(Violation("E-USAGE", name, problem, got, expected, "raise the budget"))
        where = f"{self.base} with {name}"
        return opened(merged.model, merged.options, self._providers, where, strict=False), size

    def _size(self, layout: _Layout, changed: int, graph: int) -> int:
        shares = not layout.opening.reoptimised and all(name_of(p) == CPU for p in self._providers)
        return changed + PER_GRAPH * graph + (0 if shares else layout.prepared.base_bytes)

    def _session_options(self, opening: Opening) -> Any:
        options = self._new_options()
        if not opening.reoptimised:
            levels = onnxruntime().GraphOptimizationLevel
            options.graph_optimization_level = levels.ORT_DISABLE_ALL
        return options

    def _new_options(self) -> Any:
        return onnxruntime().SessionOptions() if self._options is None else self._options()

    def _layout(self, adapter: Adapter) -> _Layout:
        """Returns the base prepared for the adapter's layout; in the worker's thread alone."""
        key = layout_of(adapter)
        if key not in self._layouts:
            self._layouts[key] = self._prepare(adapter)
            if len(self._layouts) > _LAYOUTS:
                self._layouts.popitem(last=False)
        self._layouts.move_to_end(key)
        return self._layouts[key]

    def _prepare(self, adapter: Adapter) -> _Layout:
        """Returns the optimised base, if all of the adapter goes there as into the base itself."""
        original = self._found(adapter)
        if self._opening is None:
            self._opening = optimised(self.base, self._providers, self._cache)
            self._note(self._opening.note)
        if self._opening.path != self.base:
            try:
                prepared = prepare(adapter, self._opening.path)
            except _ELSEWHERE as error:
                reason = str(error.violations[0])
            else:
                if same_places(prepared.found, original):
                    return _Layout(prepared, self._opening)
                reason = "a weight is not what it was"
            self._note(f"merged into the base as it is, not as ONNX Runtime optimised it: {reason}")
        return _Layout(Prepared(self.base, original), Opening(self.base, reoptimised=True))

    def _found(self, adapter: Adapter) -> Found:
        """Returns where the adapter goes in the base; raises as `find`."""
        try:
            return find(adapter, self.base)
        except UnsupportedError as error:
            if live_text(str(self.base)) is None:
                raise
            problems = [replace(violation, advice=_OF_LIVE) for violation in error.violations]
            raise UnsupportedError(problems) from error

    def _note(self, note: str | None) -> None:
        if note is not None and note not in self.notes:
            self.notes.append(note)


def default_cache() -> Path:
    """Returns the folder of the user's in which optimised bases are kept.

    FOURIER_CACHE, if it is set; else "fourier-format" where the system keeps caches.
    """
    chosen = os.environ.get("FOURIER_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = str(Path.home() / "Library" / "Caches")
    else:
        folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(folder) / "fourier-format" / "optimised"


def _failed(entry: _Entry) -> bool:
    return entry.made.done() and (entry.made.cancelled() or entry.made.exception() is not None)


def _unknown(name: str) -> FourierFormatError:
    problem = "no adapter of this name is activated"
    advice = "activate it, or raise the budget if others take its place"
    return UnknownAdapterError(Violation("E-ADAPTER-UNKNOWN", name, problem, advice=advice))
