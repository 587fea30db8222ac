"""Threads that load, unload, replace, activate and run at once, for a while."""

import ctypes
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fourier_format import Adapter
from fourier_format.errors import UnknownAdapterError
from fourier_runtimes import AdapterSession
from tests.real.checks import compare
from tests.real.workspace import Array

OLD_AND_NEW = "shared"
"""The name under which all threads load one adapter or another."""


@dataclass(frozen=True)
class Known:
    """An adapter, and what a batch in which each row has it must be."""

    adapter: Adapter
    outputs: Sequence[Array]


@dataclass(eq=False)
class Stress:
    """What threads do to one session, and whether it answers as it must meanwhile.

    Attributes:
        session: The session; its source has the adapters of `fixed`.
        inputs: The batch that every run takes.
        base: What the base makes of it.
        fixed: Adapters that are one thing for ever under their names.
        pair: Two that replace each other.
        bar: How far a row may be off, by its largest output.
        errors: What went wrong; threads stop at the first.
        done: About how many deeds were done.
        resident: The resident memory in MiB at some seconds after the start.
    """

    session: AdapterSession
    inputs: Mapping[str, Array]
    base: Sequence[Array]
    fixed: Mapping[str, Known]
    pair: tuple[Known, Known]
    bar: float
    errors: list[BaseException] = field(default_factory=list)
    done: int = 0
    resident: list[tuple[float, float]] = field(default_factory=list)

    def last(self, seconds: float, threads: int, activating: int) -> None:
        """Have threads at work, some of which activate; watch the resident memory meanwhile."""
        begun = time.monotonic()
        workers = [
            threading.Thread(target=self._work, args=(n, begun + seconds, n < activating))
            for n in range(threads)
        ]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            self.resident.append((time.monotonic() - begun, resident_mib()))
            time.sleep(seconds / 100)
        for worker in workers:
            worker.join()

    def _work(self, number: int, end: float, activates: bool) -> None:
        rng, own = random.Random(number), f"own {number}"
        deeds: list[tuple[float, Callable[[random.Random], None]]] = [
            (0.6, self._run_rows),
            (0.1, self._load),
            (0.1, self._unload),
            (0.1, partial(self._replace_own, own=own, activates=activates)),
            (0.1, self._activate if activates else self._run_rows),
        ]
        try:
            while time.monotonic() < end and not self.errors:
                (deed,) = rng.choices([d for _, d in deeds], [weight for weight, _ in deeds])
                deed(rng)
                self.done += 1
        except BaseException as error:  # noqa: BLE001 -- the test looks at them
            self.errors.append(error)

    def _run_rows(self, rng: random.Random) -> None:
        names = [None, OLD_AND_NEW, *self.fixed]
        rows = len(self.base[0])
        one = rng.random() < 0.3
        asked: Any = [rng.choice(names)] * rows if one else [rng.choice(names) for _ in range(rows)]
        try:
            got = self.session.run(self.inputs, asked)
        except UnknownAdapterError:
            if OLD_AND_NEW not in asked:
                raise
            return
        assert any(self._fits(got, asked, shared) for shared in self.pair), asked

    def _fits(self, got: Sequence[Array], asked: Sequence[str | None], shared: Known) -> bool:
        """Whether each row is what its adapter gives, all shared ones being the same."""
        given = {None: self.base, OLD_AND_NEW: shared.outputs}
        return all(
            compare(wanted, mine[row : row + 1]) <= self.bar
            for row, name in enumerate(asked)
            for mine, all_rows in zip(
                got, given[name] if name in given else self.fixed[str(name)].outputs, strict=True
            )
            for wanted in (all_rows[row : row + 1],)
        )

    def _replace_own(self, rng: random.Random, *, own: str, activates: bool) -> None:
        """What a thread loaded is what it gets from there on, merged or not."""
        rows = len(self.base[0])
        for known in rng.sample(self.pair, 2):
            self.session.load(known.adapter, own)
            for again in range(2):
                got = self.session.run(self.inputs, own)
                assert self._fits(got, [OLD_AND_NEW] * rows, known), own
                if activates and not again:
                    self.session.activate(own, wait=rng.random() < 0.5)
        if rng.random() < 0.3:
            self.session.unload(own)

    def _load(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self.session.load(rng.choice(self.pair).adapter, OLD_AND_NEW)
        else:
            name = rng.choice(list(self.fixed))
            self.session.load(self.fixed[name].adapter, name)

    def _unload(self, rng: random.Random) -> None:
        try:
            self.session.unload(rng.choice([OLD_AND_NEW, *self.fixed]))
        except UnknownAdapterError:
            return

    def _activate(self, rng: random.Random) -> None:
        name = rng.choice([OLD_AND_NEW, *self.fixed])
        if rng.random() < 0.3:
            self.session.deactivate(name)
            return
        try:
            self.session.activate(name)
        except UnknownAdapterError:
            assert name == OLD_AND_NEW

    def growth(self) -> float:
        """Return the MiB by which the memory of the last third is above that of the one before.

        The first third is a warm-up: ONNX Runtime's and the allocator's arenas fill. Of each of
        the others the median counts, since sessions that are being made come and go.
        """
        sizes = np.array([size for _, size in self.resident])
        _, before, after = np.array_split(sizes, 3)
        return float(np.median(after) - np.median(before))


def resident_mib() -> float:
    """Return the memory of this process, RssAnon, without what the allocator keeps for itself.

    Not VmRSS: it counts the optimised base, which all merged sessions map, once for each of them.
    """
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024
