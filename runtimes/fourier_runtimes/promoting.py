"""Activation by itself: an adapter that many runs ask for gets a merged session, where that pays.

Runs are counted; what is decided is decided in a thread of its own, by `plan`. A merged session
takes the live graph's place only where their answers differ by rounding in float32 alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fourier_format.adapter import Adapter
from fourier_format.errors import UnknownAdapterError, Violation
from fourier_runtimes.feeding import Inputs, first_sizes
from fourier_runtimes.growing import Growing
from fourier_runtimes.merges import Merges
from fourier_runtimes.planning import plan
from fourier_runtimes.providers import CPU, name_of
from fourier_runtimes.sources import loaded
from fourier_runtimes.weighing import Weighed, weighed

_COUNTED: Final = 4096
"""Adapters whose runs are counted; those asked for longest ago are forgotten."""


class Promoter:
    """Activates the adapters that whole runs ask for again and again; thread-safe.

    Attributes:
        notes: Why adapters were not activated, each reason once.
    """

    def __init__(self, growing: Growing, merges: Merges, after: int) -> None:
        """Nothing is read yet.

        Args:
            growing: The live graph and its store.
            merges: Who has merged sessions made.
            after: The runs with one adapter before it is thought of; then twice, four times, ...

        Raises:
            UsageError: Nothing can be merged into.
        """
        self.notes: Final[list[str]] = []
        self._growing, self._merges = growing, merges
        self._plain, self._after = merges.plain, after
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._lock: Final = threading.Lock()
        self._worker: Final = ThreadPoolExecutor(1, "fourier-promote")
        self._base: Weighed | None = None
        self._one = 0  # bytes, of the largest session so far
        self._closed = False

    def saw(self, name: str, inputs: Inputs) -> None:
        """Count a run whose rows all asked for `name` and that the live graph answered."""
        with self._lock:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            self._counts.move_to_end(name)
            if len(self._counts) > _COUNTED:
                self._counts.popitem(last=False)
            times, rest = divmod(count, self._after)
            if rest == 0 and times & (times - 1) == 0 and not self._closed:
                self._worker.submit(self._consider, name, *first_sizes(inputs))

    def stop(self) -> None:
        """Begin nothing any more."""
        with self._lock:
            self._closed = True

    def close(self) -> None:
        """Wait for what was begun."""
        self.stop()
        self._worker.shutdown(cancel_futures=True)

    def _consider(self, name: str, rows: int, tokens: int) -> None:
        """Activate `name` if its merged session is faster and there is room; in the worker."""
        try:
            reason = self._refused(name, rows, tokens)
        except Exception as error:  # noqa: BLE001 -- the live graph goes on serving it
            reason = f"{name}: {error}"
        if reason is not None and reason not in self.notes:
            self.notes.append(reason)

    def _refused(self, name: str, rows: int, tokens: int) -> str | None:
        """Activates `name`; returns why not, if not."""
        store = self._growing.store
        if self._base is None:
            self._base = weighed(self._plain)
        elsewhere = any(name_of(p) != CPU for p in self._growing.base.providers)
        if elsewhere or not self._base.is_float32:
            return "merged sessions would round otherwise: not all is float32 on a CPU"
        serial, origin = store.known(name)
        adapter = loaded(origin) if isinstance(origin, str) else origin
        if adapter is None:
            return f"{name}: nothing says of which file or adapter it was loaded"
        if not self._is_exact(name, adapter):
            return f"{name}: what is stored is not what its file says, or is rounded"
        room = self._merges.room
        planned = plan(self._plain, None, 1, tokens, rows, adapter=adapter, budget=room)
        if room < self._one or planned.best_of("merged", "spectral") != "merged":
            full = "there is no room for one more merged session"
            return f"{name}: {full if room < self._one else planned.cost('merged').note}"
        with store.lock:  # whoever replaces or unloads it after this lets go of it, too
            if self._closed or store.known(name)[0] != serial:
                return None
            activator = self._merges.activate(name, adapter, lambda _: None, _gone)
        activator.wait(name)  # so that the next one knows what room there is
        self._one = max(self._one, room - self._merges.room)
        return None

    def _is_exact(self, name: str, adapter: Adapter) -> bool:
        """Whether the live graph is fed exactly what `adapter` says."""
        fed = self._growing.live.fitter.fit(adapter, name, unverified=True)
        held = self._growing.store.compose(((name, 1.0),))
        return fed.keys() == held.keys() and all((fed[i] == held[i]).all() for i in fed)


def _gone(name: str) -> UnknownAdapterError:
    return UnknownAdapterError(Violation("E-ADAPTER-UNKNOWN", name, "it was unloaded meanwhile"))
