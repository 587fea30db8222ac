"""What `serve.py` compares: the ways to answer a batch, each row by its own adapter or not.

It runs in that script's children. An arm is opened, then called; a call answers every row once.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime
import serve_lora
from numpy.typing import NDArray
from serve_cases import SEED, Case, Files, Model

import fourier_format
from fourier_format.adapter import Adapter, EntrySet
from fourier_format.live import fit, from_text
from fourier_format.live.interface import KEY
from fourier_runtimes import AdapterSession

Array = NDArray[Any]
Feeds = dict[str, Array]
_QUIET: Final = 3


class Setup(NamedTuple):
    """All that the arms of a case have in common; `binding` is IOBinding, always on CUDA."""

    case: Case
    model: Model
    files: Files
    sizes: tuple[int, ...]
    device: str
    threads: int
    binding: bool

    @property
    def providers(self) -> list[str]:
        cpu = "CPUExecutionProvider"
        return ["CUDAExecutionProvider", cpu] if self.device == "cuda" else [cpu]


def session_of(path: Path, setup: Setup, threads: int | None = None) -> Any:
    """Open a graph, with ONNX Runtime's own defaults but for the threads."""
    options = options_of(threads or setup.threads)
    session = onnxruntime.InferenceSession(path, options, providers=setup.providers)
    assert session.get_providers()[0] == setup.providers[0], "the provider is not there"
    return session


def options_of(threads: int) -> Any:
    """ONNX Runtime's own defaults but for the threads."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    return options


def feeds_of(setup: Setup, session: Any) -> Feeds:
    """Random token numbers, none of them padding, and a random past; the same each time."""
    case, model = setup.case, setup.model
    random = np.random.default_rng(SEED)
    ids = random.integers(1, model.vocabulary, (case.rows, case.tokens))
    feeds: Feeds = {
        "input_ids": ids,
        "attention_mask": np.ones((case.rows, case.past + case.tokens), np.int64),
    }
    size = (case.rows, model.heads, case.past, model.width // model.heads)
    for name in sorted(entry.name for entry in session.get_inputs()):
        if name.startswith("past_key_values."):
            feeds[name] = random.standard_normal(size, np.float32)
    return feeds


def row(feeds: Feeds, number: int) -> Feeds:
    """One row of a batch."""
    return {name: array[number : number + 1] for name, array in feeds.items()}


class Prepared:
    """One Run whose inputs are laid out: in NumPy's memory, or bound on the device."""

    def __init__(
        self, session: Any, feeds: Feeds, setup: Setup, adapter: tuple[Any, Feeds] | None = None
    ) -> None:
        self._session, self._feeds = session, feeds
        self._adapter = adapter  # the options do not keep it alive
        self._binding: Any = None
        self._options = onnxruntime.RunOptions()
        if setup.binding:  # with which ONNX Runtime ignores adapters: they are bound as inputs
            self._binding = _bound(session, feeds | (adapter[1] if adapter else {}), setup.device)
        elif adapter is not None:
            self._options.add_active_adapter(adapter[0])

    def __call__(self) -> Any:
        if self._binding is None:
            return self._session.run(None, self._feeds, self._options)
        self._session.run_with_iobinding(self._binding)
        return None

    def answers(self) -> list[Array]:
        """The outputs of one more Run."""
        given: list[Array] | None = self()
        if self._binding is None:
            return given or []
        copied: list[Array] = self._binding.copy_outputs_to_cpu()
        return copied


def _bound(session: Any, feeds: Feeds, device: str) -> Any:
    binding = session.io_binding()
    for name, array in feeds.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, device)
    return binding


class Arm(NamedTuple):
    """A way to answer a batch: `call` is timed; `answers` gives the first output of each row.

    `rows` is how many rows a call answers: openings answer one, and stand for all.
    """

    call: Callable[[], object]
    answers: Callable[[], Array]
    rows: int


def open_arm(name: str, setup: Setup) -> Arm:
    """Open what an arm needs."""
    return ARMS[name](setup)


def _whole(
    path: Path, setup: Setup, lora: int | None = None, live: tuple[int, int] | None = None
) -> Arm:
    """One Run of all rows; `live` is n and how many rows of coefficients are fed."""
    session = session_of(path, setup)
    feeds = feeds_of(setup, session)
    if live is not None:
        feeds |= coefficients(setup, session, *live)
    adapter = None if lora is None else loras(setup, lora)[-1]
    run = Prepared(session, feeds, setup, adapter)
    return Arm(run, lambda: run.answers()[0], setup.case.rows)


def adapters_of(setup: Setup, n: int, count: int) -> list[Adapter]:
    """The model's adapter of n, then others of its layout, with random coefficients."""
    first = fourier_format.load(setup.files.adapter(n))
    random = np.random.default_rng(SEED + 1)

    def another(entries: EntrySet) -> EntrySet:
        drawn = random.standard_normal(entries.coefficients.shape, np.float32)
        return dataclasses.replace(entries, coefficients=drawn)

    return [
        first,
        *(
            dataclasses.replace(first, entry_sets=tuple(map(another, first.entry_sets)))
            for _ in range(count - 1)
        ),
    ]


def coefficients(setup: Setup, session: Any, n: int, rows: int) -> Feeds:
    """What a live graph is fed: the values of an adapter for each row."""
    interface = from_text(session.get_modelmeta().custom_metadata_map[KEY], "live graph")
    values = [fit(adapter, interface, "adapter") for adapter in adapters_of(setup, n, rows)]
    return {name: np.stack([value[name] for value in values]) for name in values[0]}


def _session(setup: Setup) -> Arm:
    """The live graph through AdapterSession, which is asked by names."""
    n = max(setup.sizes)
    adapters = adapters_of(setup, n, setup.case.rows)
    live = AdapterSession(
        setup.files.live(n),
        providers=setup.providers,
        session_options=partial(options_of, setup.threads),
        adapters={str(number): adapter for number, adapter in enumerate(adapters)},
    )
    feeds, names = feeds_of(setup, live.session), live.names

    def answers() -> Array:
        first: Array = live.run(feeds, names)[0]
        return first

    return Arm(answers, answers, setup.case.rows)


def loras(setup: Setup, count: int) -> list[tuple[Any, Feeds]]:
    """ONNX Runtime's adapters and what is in them, `count` different ones."""
    adapter = fourier_format.load(setup.files.adapter(max(setup.sizes)))
    made = [serve_lora.factors(adapter, SEED + number) for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="serve-lora-") as folder:
        return [*zip(serve_lora.opened(iter(made), Path(folder)), made, strict=True)]


def _lora_rows(setup: Setup, sessions: int) -> Arm:
    """Rows one at a time, each with its adapter; shared out to Python threads if sessions are."""
    rows = setup.case.rows
    threads = None if sessions == 1 else 1
    opened = [session_of(setup.files.lora, setup, threads) for _ in range(sessions)]
    feeds, adapters = feeds_of(setup, opened[0]), loras(setup, rows)
    runs = [Prepared(opened[k % sessions], row(feeds, k), setup, adapters[k]) for k in range(rows)]
    shares = [runs[k::sessions] for k in range(sessions)]
    pool = ThreadPoolExecutor(sessions)

    def call() -> None:
        if sessions == 1:
            _each(runs)
        else:
            for done in [pool.submit(_each, share) for share in shares]:
                done.result()

    return Arm(call, lambda: np.concatenate([run.answers()[0] for run in runs]), rows)


def _each(runs: Sequence[Prepared]) -> None:
    for run in runs:
        run()


def _opening(path: Path, setup: Setup) -> Arm:
    """A session for an adapter: opened, and one row answered."""
    feeds = row(feeds_of(setup, session_of(path, setup)), 0)

    def answers() -> Array:
        first: Array = Prepared(session_of(path, setup), feeds, setup).answers()[0]
        return first

    return Arm(answers, answers, 1)


_Opener = Callable[[Setup], Arm]


def _merged(setup: Setup) -> Path:
    return setup.files.merged(max(setup.sizes))


def _live(setup: Setup, *, most: bool, rows: bool) -> Arm:
    """A live graph fed one adapter for all rows, or one for each."""
    n = max(setup.sizes) if most else min(setup.sizes)
    return _whole(setup.files.live(n), setup, live=(n, setup.case.rows if rows else 1))


ARMS: Final[Mapping[str, _Opener]] = {
    "base": lambda s: _whole(s.files.base, s),
    "merged": lambda s: _whole(_merged(s), s),
    "merged_requantized": lambda s: _whole(s.files.requantized(max(s.sizes)), s),
    "live_nothing": lambda s: _whole(s.files.live(max(s.sizes)), s),
    "live_one_200": partial(_live, most=False, rows=False),
    "live_one_1000": partial(_live, most=True, rows=False),
    "live_rows_200": partial(_live, most=False, rows=True),
    "live_rows_1000": partial(_live, most=True, rows=True),
    "session_rows_1000": _session,
    "lora_one": lambda s: _whole(s.files.lora, s, lora=1),
    "lora_rows": partial(_lora_rows, sessions=1),
    "lora_two_sessions": partial(_lora_rows, sessions=2),
    "open_merged": lambda s: _opening(_merged(s), s),
    "open_optimised": lambda s: _opening(s.files.optimised(_merged(s)), s),
}
"""By the names of `serve_cases.LABELS`, which says what they are."""
