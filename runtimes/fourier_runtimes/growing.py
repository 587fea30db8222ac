"""A live graph and the store of its adapters, made anew where one of them has no place in it."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fourier_format.adapter import Adapter
from fourier_format.errors import UnsupportedError, UsageError, Violation
from fourier_format.live import Interface
from fourier_format.live.fitting import refuse_unverifiable
from fourier_runtimes import graphs
from fourier_runtimes.failures import TRIES, StaleError, restless
from fourier_runtimes.living import Base, Live
from fourier_runtimes.loading import Loadable, sorts
from fourier_runtimes.store import Store
from fourier_runtimes.tables import Precision


class Growing:
    """A base's live graph with its adapters; thread-safe.

    The store and the graph change hands under the store's lock, so that whoever holds it sees both
    of one make.

    Attributes:
        base: The base and how it is opened.
        store: The adapters.
        is_plain: Whether the base is a plain model, of which a live graph can be made.
    """

    def __init__(
        self,
        base: Base,
        named: Mapping[str, Loadable],
        precision: Precision,
        folder: Path | None,
        *,
        unverified: bool,
    ) -> None:
        """Opens the base, with a place for each sort of adapter in `named`; raises as `Base`."""
        self.base = base
        self._unverified = unverified
        self._making = threading.Lock()
        graph = base.graph()
        self.is_plain = graph.interface is graphs.PLAIN
        self._sorts = sorts(named) if self.is_plain else {}
        if self._sorts:
            graph = base.graph_for(list(self._sorts.values()))
        self.store = Store(graph.interface, precision, folder)
        self._ended = threading.Condition(self.store.lock)
        self._runs: Counter[int] = Counter()  # that have begun, by thread
        self._closing = False
        try:
            self._live: Live | None = base.opened(graph, self.store)
        except BaseException:
            self.store.close()
            raise

    @property
    def live(self) -> Live:
        """The graph that is served now.

        Raises:
            UsageError: It is closed.
        """
        live = self._live
        if live is None:
            raise _closed()
        return live

    def check_open(self) -> None:
        """Raises as `live`, and where closing only waits for the runs that have begun."""
        if self._closing:
            raise _closed()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Has closing, by another thread than this, wait for the end of the block.

        Raises:
            UsageError: It is closed.
        """
        thread = threading.get_ident()
        with self._ended:
            self.check_open()
            self._runs[thread] += 1
        try:
            yield
        finally:
            with self._ended:
                self._runs[thread] -= 1
                self._runs += Counter()  # without zeros
                self._ended.notify_all()

    def put(
        self, name: str, adapter: Adapter, origin: str | Adapter, *, replaces: bool = True
    ) -> None:
        """Hold what an adapter feeds; a plain base's graph is made anew if it has no place for it.

        Args:
            name: Its name.
            adapter: The adapter.
            origin: Its path or URL, or itself.
            replaces: Whether it takes the place of what is loaded under the name.

        Raises:
            BaseMismatchError: It was trained on another base, or nothing says on which.
            UnsupportedError: The graph has no place for it and cannot be given one.
            ServingError: Others make the graph anew all the time.
        """
        made_for_it = False
        for _ in range(TRIES):
            live = self.live
            try:
                values = live.fitter.fit(adapter, name, unverified=self._unverified)
            except UnsupportedError as error:
                if not self.is_plain or made_for_it or error.code != "E-LIVE-LAYOUT":
                    raise
                made_for_it = self._make_anew(name, adapter, live)
                continue
            try:
                with self.store.serving(live.interface):
                    if replaces or name not in self.store:
                        self.store.put(name, values, adapter.alpha, origin)
            except StaleError:  # the graph was made anew meanwhile
                continue
            return
        raise restless(name)

    def verify(self, name: str, adapter: Adapter) -> None:
        """Refuse an adapter that `put` would refuse for its lack of fingerprints.

        Raises:
            BaseMismatchError: Nothing says on which base it was trained.
        """
        if not self._unverified:
            refuse_unverifiable(adapter, name)

    def holds(self, name: str, adapter: Adapter) -> bool:
        """Whether `adapter` is what is loaded under a name; raises BaseMismatchError as `put`."""
        with self.store.lock:
            try:
                values = self.live.fitter.fit(adapter, name, unverified=self._unverified)
            except UnsupportedError:
                return False
            return self.store.holds(name, values)

    def close(self) -> None:
        """Let go of everything once the runs of other threads have ended; a second call, too."""
        with self._ended:
            self._closing = True
            self._ended.wait_for(lambda: self._runs.keys() <= {threading.get_ident()})
            if self._live is not None:
                self._live = None
                self.store.close()

    def _make_anew(self, name: str, adapter: Adapter, seen: Live) -> bool:
        """Returns whether the graph was made for `adapter`; not if another thread made one."""
        with self._making:
            if self._live is not seen:
                return False
            begun = time.perf_counter()
            known = self._sorts | {graphs.sort_of(adapter): adapter}
            graph = self.base.graph_for(list(known.values()))
            live = self.base.opened(graph, self.store)
            with self.store.lock:
                self.check_open()
                self.store.adopt(graph.interface)
                self._live, self._sorts = live, known
            if seen.interface is not graphs.PLAIN:
                _warn_of_bank(name, graph.interface, time.perf_counter() - begun)
            return True


def _closed() -> UsageError:
    return UsageError(Violation("E-USAGE", "AdapterSession", "the session is closed"))


def _warn_of_bank(name: str, interface: Interface, seconds: float) -> None:
    count = len(interface.banks)
    banks = f"{count} bank{'' if count == 1 else 's'}"
    message = (
        f"{name} has entries of its own: the live graph was made anew in {seconds:.1f} s and has "
        f"{banks} now; a batch pays for each bank that its adapters use"
    )
    warnings.warn(message, stacklevel=6)
