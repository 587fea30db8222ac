"""The merged sessions beside a live graph: each answers with what is loaded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fourier_format.adapter import Adapter
from fourier_format.errors import (
    InvalidAdapterError,
    UnknownAdapterError,
    UsageError,
    Violation,
)
from fourier_runtimes import sources
from fourier_runtimes.activators import Activator
from fourier_runtimes.growing import Growing
from fourier_runtimes.rows import Rows

if TYPE_CHECKING:
    from fourier_runtimes.promoting import Promoter

Reader = Callable[[str], Adapter | None]
"""Returns the adapter of a name that nothing is loaded under; None where there is none."""


class Merges:
    """Which adapters have merged sessions; thread-safe.

    What changes hands under the store's lock is the right of a merged session to answer: it goes
    with what was loaded, so that none answers with an adapter that was unloaded or replaced.
    """

    def __init__(
        self, growing: Growing, plain: str | bytes, budget: int, activator: Activator | None
    ) -> None:
        """Makes nothing yet.

        Args:
            growing: The live graph and its adapters.
            plain: The model to merge into: a path; what has no path cannot be merged into.
            budget: How many bytes merged sessions may take.
            activator: Who keeps them instead.
        """
        self._growing, self._store = growing, growing.store
        self._plain, self._budget = plain, budget
        self._activator = activator
        self._making: Final = threading.Lock()
        self._store.watch(self.deactivate)

    def activate(
        self, name: str, adapter: Adapter | None, read: Reader, unknown: Callable[[str], Exception]
    ) -> Activator:
        """Have a merged session made; returns who makes it.

        Args:
            name: The adapter's name.
            adapter: The adapter, None to read it from where it was loaded.
            read: Finds the adapter of a name that nothing is loaded under.
            unknown: Makes the error where there is none.

        Raises:
            UsageError: There is no file to merge into, or `adapter` is another than what is loaded.
            BaseMismatchError: Nothing says on which base the adapter was trained.
            InvalidAdapterError: E-DIGEST: what was loaded is no longer in its file.
            FourierFormatError: The adapter cannot be read.
        """
        while True:
            with self._store.lock:
                self._growing.check_open()
                serial, origin = self._store.known(name)
                activator = self._activator
                made = None if activator is None else activator.adapter_of(name)
                if activator is not None and made is not None and adapter in {None, made}:
                    activator.activate(name, made)  # it is used again
                    return activator
            chosen = adapter or _read(origin) or read(name)
            if chosen is None:
                raise unknown(name) if serial is None else _lost(name)
            self._growing.verify(name, chosen)
            activator = self._keeper()
            with self._store.lock:
                self._growing.check_open()
                if self._store.known(name)[0] != serial:
                    continue  # it was loaded, replaced or unloaded meanwhile
                if serial is not None and not self._growing.holds(name, chosen):
                    raise _other(name, given=adapter is not None)
                activator.activate(name, chosen)
                return activator

    def deactivate(self, name: str) -> None:
        """Let go of the merged session of `name`, if there is one."""
        if self._activator is not None:
            self._activator.deactivate(name)

    def session_for(self, rows: Rows) -> Any | None:
        """Returns the merged session of the one adapter that all rows ask for, if it is there.

        Of an adapter that is not loaded, as those that no live graph serves, it is waited for.

        Raises:
            FourierFormatError: It is not loaded, and could not be merged.
        """
        name, activator = rows.single, self._activator
        if name is None or activator is None:
            return None
        session = activator.session_for(name)
        if session is None and self._store.missing([name]):
            with contextlib.suppress(UnknownAdapterError):
                return activator.wait(name)
        return session

    @property
    def active(self) -> tuple[str, ...]:
        """The names that have merged sessions, or for which one is being made."""
        return () if self._activator is None else self._activator.active

    @property
    def path(self) -> str | None:
        """The path of the model that is merged into; None where it is in memory alone."""
        return None if isinstance(self._plain, bytes) else self._plain

    @property
    def plain(self) -> str:
        """The path of the model that is merged into.

        Raises:
            UsageError: It is in memory alone.
        """
        if self.path is None:
            problem = "nothing says of which model file a merged session is to be made"
            advice = "give `plain`, the model that the live graph was made of"
            raise UsageError(Violation("E-USAGE", "activate", problem, advice=advice))
        return self.path

    @property
    def room(self) -> int:
        """The bytes that are left of the budget."""
        return self._budget - (0 if self._activator is None else self._activator.size)

    def promoter(self, after: int) -> Promoter:
        """Returns who activates adapters by itself.

        Raises:
            UsageError: `after` is no count, or nothing can be merged into.
        """
        from fourier_runtimes.promoting import Promoter

        if after < 1:
            raise UsageError(Violation("E-USAGE", "activate_after", "not a count", str(after)))
        return Promoter(self._growing, self, after)

    def close(self) -> None:
        """Let go of all."""
        if self._activator is not None:
            self._activator.close()

    def _keeper(self) -> Activator:
        with self._making:
            if self._activator is None:
                base = self._growing.base
                self._activator = base.activator(Path(self.plain), self._budget)
            return self._activator


def _read(origin: str | Adapter | None) -> Adapter | None:
    return sources.loaded(origin) if isinstance(origin, str) else origin


def _lost(name: str) -> Exception:
    problem = "nothing says of which file or adapter this was loaded"
    return UsageError(Violation("E-USAGE", name, problem, advice="give `adapter`"))


def _other(name: str, *, given: bool) -> Exception:
    if given:
        problem = "this adapter is another than the one that is loaded under the name"
        advice = "load it first, or activate it under a name of its own"
        return UsageError(Violation("E-USAGE", name, problem, advice=advice))
    problem = "the adapter's file is no longer what was loaded"
    return InvalidAdapterError(Violation("E-DIGEST", name, problem, advice="load it again"))
