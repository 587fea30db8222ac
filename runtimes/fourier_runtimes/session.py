"""AdapterSession: one ONNX Runtime session of a base that answers each row with its own adapter."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, get_args

from fourier_format.adapter import Adapter
from fourier_format.errors import (
    FourierFormatError,
    UnknownAdapterError,
    UnsupportedError,
    UsageError,
    Violation,
    raise_all,
)
from fourier_format.live import Interface
from fourier_runtimes import rows, sources
from fourier_runtimes.activators import Activator
from fourier_runtimes.failures import TRIES, StaleError, refuse_unknown, restless, serving_errors
from fourier_runtimes.feeding import Inputs, fitting
from fourier_runtimes.growing import Growing
from fourier_runtimes.living import Base, Binding
from fourier_runtimes.loading import Loadable, Loadables, named_by_file, read_ahead, shown
from fourier_runtimes.merges import Merges
from fourier_runtimes.providers import Provider, chosen
from fourier_runtimes.store import unknown
from fourier_runtimes.tables import Precision
from fourier_runtimes.values import mistyped, numpy_lacks, run_arrays

if TYPE_CHECKING:
    from fourier_runtimes.promoting import Promoter

DEVICE_BYTES: Final = 2**28
MERGED_BYTES: Final = 2**30


class AdapterSession:
    """A base with any number of adapters, each row of a batch with its own; thread-safe.

    `base` is a live graph (`fourier-convert --live`) or a plain one, of which the live graph is
    made in memory for the adapters that are loaded; later adapters with entries of their own make
    it anew with one more bank, while running requests finish on the old one.

    Args:
        base: The path or bytes of a live graph, or the path of a plain ONNX model.
        providers: ONNX Runtime's execution providers; the CPU's by default.
        session_options: ONNX Runtime's SessionOptions, or a function that makes them; merged
            sessions get config entries from a function alone. While a live graph is made of a
            base with external data, options that are given as such tell where the data lies.
        dtype: Of the store: "float16" halves it, with the rounding that `tables` states.
        folder: Where the store keeps its files, mapped into memory; adapters that it holds
            from before are there at once. Of a plain base these need `adapters` of each sort.
            In memory by default.
        source: A directory or fsspec URL; a name that is not loaded is looked for there, as
            `<name>.fft`, when a run asks for it.
        adapters: Paths, or paths and Adapters by name, to load at once.
        unverified: Whether adapters without fingerprints are taken; nothing then says whether
            the base is theirs.
        strict: Whether an absent execution provider is an error, not a warning.
        binding: How values reach the graph: "fed" as arrays, "bound" on the device, "fixed"
            in buffers that stay, as CUDA graphs need. "auto" follows the providers.
        device_bytes: What adapters may take of the device's memory.
        plain: The model that adapters are merged into by `activate`: what a live `base` was made
            of. By default `base`, to which nothing is fed then.
        merged_bytes: What merged sessions may take together; those used longest ago go.
        activator: Who keeps merged sessions instead.
        activate_after: Runs that ask for one adapter in all rows after which it is activated by
            itself, in the background, if `plan` finds its merged session faster, there is room
            for it in `merged_bytes`, and answers change by rounding in float32 alone. Never by
            default: it takes memory, and the disk that an optimised base takes.

    Raises:
        FourierFormatError: An adapter does not fit or cannot be read; the base is not live and
            cannot be made so; a provider is absent (`strict`).
    """

    def __init__(
        self,
        base: str | os.PathLike[str] | bytes,
        *,
        providers: Sequence[Provider] | None = None,
        session_options: Any = None,
        dtype: Precision = "float32",
        folder: str | os.PathLike[str] | None = None,
        source: str | os.PathLike[str] | None = None,
        adapters: Loadables = (),
        unverified: bool = False,
        strict: bool = False,
        binding: Binding = "auto",
        device_bytes: int = DEVICE_BYTES,
        plain: str | os.PathLike[str] | None = None,
        merged_bytes: int = MERGED_BYTES,
        activator: Activator | None = None,
        activate_after: int | None = None,
    ) -> None:
        refuse_unknown("dtype", dtype, get_args(Precision))
        refuse_unknown("binding", binding, get_args(Binding))
        model = base if isinstance(base, bytes) else os.fspath(base)
        given = chosen(providers, strict=strict)
        opened = Base(model, session_options, given, strict, binding, device_bytes)
        self._source = None if source is None else sources.Source(source)
        named = named_by_file(adapters)
        where = None if folder is None else Path(folder)
        self._growing = Growing(opened, named, dtype, where, unverified=unverified)
        self._store = self._growing.store
        merged_of = model if plain is None else os.fspath(plain)
        self._merges = Merges(self._growing, merged_of, merged_bytes, activator)
        self._promoter: Promoter | None = None
        try:
            if activate_after is not None:
                self._promoter = self._merges.promoter(activate_after)
            self.load_all(named)
        except BaseException:
            self._growing.close()
            raise

    @property
    def names(self) -> list[str]:
        """The names of the loaded adapters, in the order of their loading."""
        return self._store.names

    @property
    def active(self) -> list[str]:
        """The names of the adapters with merged sessions, ready or being made; loaded or not."""
        return list(self._merges.active)

    @property
    def interface(self) -> Interface:
        """What the live graph says of itself."""
        return self._growing.live.interface

    @property
    def session(self) -> Any:
        """The live graph's InferenceSession."""
        return self._growing.live.session

    @property
    def plain(self) -> str | None:
        """The path of the model that adapters are merged into; None of what is in memory alone."""
        return self._merges.path

    def load(self, adapter: Loadable, name: str | None = None) -> str:
        """Hold an adapter under a name; one that was loaded under it before is replaced.

        An Adapter that is given as such is kept beside its coefficients, for `activate`.

        Args:
            adapter: A .fft or .fft.h5 file, by path or URL, or an Adapter.
            name: Its name; a file's own by default, without its suffix.

        Returns:
            The name.

        Raises:
            InvalidAdapterError: The file breaks the format.
            BaseMismatchError: It was trained on another base, or nothing says on which.
            UnsupportedError: The live graph has no place for it and cannot be given one, or its
                numbers are beyond float32.
            UsageError: An Adapter without a name; the session is closed.
            FileAccessError: The file cannot be read.
        """
        if isinstance(adapter, Adapter):
            if name is None:
                raise UsageError(Violation("E-USAGE", "name", "an Adapter is loaded under a name"))
            self._growing.put(name, adapter, adapter)
            return name
        name = sources.stem(adapter) if name is None else name
        self._growing.put(name, sources.loaded(adapter), os.fspath(adapter))
        return name

    def load_all(self, adapters: Loadables | None = None) -> None:
        """Load many, with a bar where a terminal shows it; None: all that the source lists.

        Those that cannot be loaded do not keep the others from it.

        Raises:
            FileAccessError: The source cannot be listed.
            FourierFormatError: Some could not be loaded; it says which, and of which why.
        """
        if adapters is not None:
            named = named_by_file(adapters)
        elif self._source is None:
            named = {}
        else:
            named = {name: self._source.place(name) for name in self._source.names()}
        failures = []
        for name, adapter in read_ahead(shown(named.items(), "loading"), list(named.values())):
            try:
                if adapters is None:
                    self._fetch(name, replaces=True)
                else:
                    self.load(adapter, name)
            except FourierFormatError as error:
                failures.append(error)
        self._store.flush()
        raise_all(failures)

    def unload(self, name: str) -> None:
        """Let go of an adapter; runs that have begun with it finish with it.

        Raises:
            UnknownAdapterError: None is loaded under this name; it may be activated only.
        """
        with self._store.lock:
            if not self._store.missing([name]):
                self._store.remove(name)
                return
        if name in self.active:
            problem, advice = "it is activated and not loaded", "`deactivate` lets go of it"
            raise UnknownAdapterError(Violation("E-ADAPTER-UNKNOWN", name, problem, advice=advice))
        raise self._unknown(name)

    def run(
        self,
        inputs: Inputs,
        adapters: rows.Asked = None,
        output_names: Sequence[str] | None = None,
        *,
        run_options: Any = None,
    ) -> list[Any]:
        """Returns the base's outputs for `inputs`, each row with the adapter that it asks for.

        Args:
            inputs: The base's inputs by name.
            adapters: One thing for all rows, or a list with one for each: a name, None for the
                base alone, or {name: weight, ...} for the weighted sum of several.
            output_names: The outputs; all by default.
            run_options: ONNX Runtime's RunOptions.

        Raises:
            UnknownAdapterError: A name that is not loaded, and not in the source.
            UsageError: E-ADAPTER-ROWS: the list does not fit the batch; E-USAGE: `adapters` is
                something else, or the session is closed.
            ServingError: ONNX Runtime refused, or the device is out of memory; other requests go
                on.
            FourierFormatError: An adapter that had to be loaded could not be.
        """
        asked = rows.parsed(adapters)
        with self._growing.running():
            return self._run(inputs, asked, output_names, run_options)

    def _run(
        self, inputs: Inputs, asked: rows.Rows, output_names: Sequence[str] | None, run_options: Any
    ) -> list[Any]:
        merged = self._merges.session_for(asked)
        for tries_left in reversed(range(TRIES)):
            live = self._growing.live
            if merged is None:
                self._demand(asked.names)
            fed = fitting(live.declared, inputs, asked)
            try:
                used = live.session if merged is None else merged
                with serving_errors("run", partial(mistyped, used, fed)):
                    if merged is not None:
                        wide = numpy_lacks(merged)
                        return run_arrays(merged, output_names, fed, run_options, wide)
                    outputs = live.runner.run(fed, asked, output_names, run_options)
            except StaleError:  # the graph was made anew meanwhile
                if not tries_left:
                    raise restless("run") from None
            except UnknownAdapterError:  # it was unloaded meanwhile; a source may have it
                if self._source is None or not tries_left:
                    raise
            else:
                if self._promoter is not None and asked.single is not None:
                    self._promoter.saw(asked.single, inputs)
                return outputs
        raise AssertionError  # the last try returns or raises

    def activate(self, name: str, adapter: Loadable | None = None, *, wait: bool = False) -> None:
        """Have a merged session made of one adapter, for batches that ask for it in all rows.

        The live graph answers until it is there; a run that asks for an adapter which is not
        loaded waits for it. It goes when the adapter is unloaded or replaced.

        Args:
            name: The adapter's name.
            adapter: A file or Adapter that is not loaded, such as one that cannot be served live.
                By default what is loaded under the name, or lies in the source.
            wait: Whether to return only when it is there.

        Raises:
            UnknownAdapterError: Nothing is known by this name.
            UsageError: The session is of a live graph's bytes, without `plain`; `adapter` is not
                what is loaded under the name; the session is closed.
            BaseMismatchError: Nothing says on which base it was trained, and not `unverified`.
            InvalidAdapterError: E-DIGEST: the file is no longer what was loaded from it.
            FourierFormatError: The adapter cannot be read, or (`wait`) merged.
        """
        self._growing.check_open()
        if adapter is not None and not isinstance(adapter, Adapter):
            adapter = sources.loaded(adapter)
        activator = self._merges.activate(name, adapter, self._read, self._unknown)
        if wait:
            try:
                activator.wait(name)
            except UnknownAdapterError:
                self._growing.check_open()
                raise

    def deactivate(self, name: str) -> None:
        """Let go of the merged session of `name`; it is served live again, if it is loaded.

        Without a merged session, which others may have taken the place of, nothing is done.
        """
        self._merges.deactivate(name)

    def flush(self) -> None:
        """Write the index of a store in a folder; `load_all` and `close` do so, `load` does not.

        Raises:
            FileAccessError: Writing failed.
        """
        self._store.flush()

    def close(self) -> None:
        """Let go of everything, once the runs that have begun in other threads are finished."""
        try:
            if self._promoter is not None:
                self._promoter.close()
            self._growing.close()
        finally:
            self._merges.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _demand(self, names: Iterable[str]) -> None:
        for name in self._store.missing(names):
            self._fetch(name, replaces=False)

    def _fetch(self, name: str, *, replaces: bool) -> None:
        found = self._found(name)
        if found is None:
            raise self._unknown(name)
        self._growing.put(name, *found, replaces=replaces)

    def _read(self, name: str) -> Adapter | None:
        """Returns an adapter of the source, which is loaded too if the live graph can serve it."""
        found = self._found(name)
        if found is None:
            return None
        with contextlib.suppress(UnsupportedError):
            self._growing.put(name, *found, replaces=False)
        return found[0]

    def _found(self, name: str) -> tuple[Adapter, str] | None:
        return None if self._source is None else self._source.fetch(name)

    def _unknown(self, name: str) -> UnknownAdapterError:
        there: list[str] = []
        if self._source is not None:
            with contextlib.suppress(FourierFormatError):  # names that are near only help
                there = self._source.names()
        where = None if self._source is None else sources.redacted(self._source.where)
        return unknown(name, sources.near(name, [*self.names, *there]), where)
