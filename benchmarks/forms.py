"""What each form of serving an adapter costs, beside its base: the table that `plan` reads.

    python benchmarks/forms.py [--device cuda] [--write]

Two adapted layers of one input in ONNX Runtime, one thread; a transformer layer says how well the
table predicts. README.md says how to read the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import onnxruntime
from forms_fit import WORKS, Point, fitted, fitted_making
from forms_graphs import (
    FEATURES,
    ORDERS,
    TARGETS,
    TOPOLOGIES,
    Array,
    adapter_of,
    fed,
    spectral,
)
from measure import Json, environment, finish, progress, rounded, timed

import fourier_format
from fourier_converters.onnx.live.spectrum import is_by_token
from fourier_runtimes import costs
from fourier_runtimes.activating import MergedSessions

WIDTHS: Final = (384, 768, 2048)
SIZES: Final = (200, 1000)
ROWS: Final = (1, 8, 32)
TOKENS: Final = (1, 16, 64, 256)
FEW: Final = (1, 2, 3, 4, 6, 8, 12, 16)
"""Tokens a row among which the better order changes."""
WHOLE: Final = ((384, 1, 16), (384, 32, 1), (384, 32, 64), (768, 1, 1), (768, 16, 1), (768, 16, 64))
"""Width, rows and tokens of the transformer layers."""
MAX_PRODUCTS: Final = 2**32
MAX_FED: Final = 2**26
_SAMPLE_SECONDS: Final = 0.01
_ACTIVATIONS: Final = 5
PACKAGES: Final = ("numpy", "scipy", "onnx", "onnxruntime")
COSTS: Final = Path(costs.__file__).with_name("costs.json")
PROVIDERS: Final = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=tuple(PROVIDERS), default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a tiny width, to try the script")
    parser.add_argument("--write", action="store_true", help="put the table into the package")
    parser.add_argument("--points", type=Path, help="keep what is measured here, or take it")
    parser.add_argument("--processor", help="what the table calls what was measured")
    arguments = parser.parse_args()
    bench = Bench(arguments.device, arguments.runs)
    widths = (48,) if arguments.smoke else WIDTHS
    sizes = (20, 40) if arguments.smoke else SIZES
    whole = ((48, 2, 4),) if arguments.smoke else WHOLE
    points = list(
        _kept(arguments.points, lambda: (p for w in widths for p in bench.points(w, sizes)))
    )
    forms, errors = fitted(points)
    forms |= bench.making(widths, max(sizes))
    facts = environment(PACKAGES)
    processor = arguments.processor or facts["cpu"]
    table = costs.Table(arguments.device, processor, forms)
    if arguments.write:
        _write(arguments.device, {"processor": processor, "date": facts["date"], "forms": forms})
    results = {
        "device": arguments.device,
        "forms": forms,
        "errors": errors,
        "few_tokens": _few_tokens(points),
        "layers": bench.layers(whole, max(sizes), table),
        "points": [p._asdict() | {"ns": round(p.ns), "base_ns": round(p.base_ns)} for p in points],
    }
    finish("forms", results, PACKAGES)


def _kept(path: Path | None, measured: Callable[[], Iterator[Point]]) -> Iterator[Point]:
    """What was measured before, or is now: measuring takes long, and fitting does not."""
    if path is not None and path.exists():
        yield from (Point(*values) for values in json.loads(path.read_text("utf-8")))
        return
    points = list(measured())
    if path is not None:
        path.write_text(json.dumps(points), "utf-8")
    yield from points


class Case(NamedTuple):
    """Which rows and tokens a session is run with, and how many rows of adapters it is fed."""

    form: str
    rows: int
    fed: int
    tokens: int


class Bench:
    """Times graphs on one device; on a CPU in processor time of one thread."""

    def __init__(self, device: str, runs: int) -> None:
        self.device, self.runs = device, runs

    def options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        return options

    def sessions(self, topology: str, width: int, n: int) -> Iterator[tuple[str, Any]]:
        """The sessions of all forms; "spectral" takes the order that the converter chose."""
        make, providers = TOPOLOGIES[topology], PROVIDERS[self.device]
        with tempfile.TemporaryDirectory(prefix="forms-") as folder:
            base = Path(folder) / "base.onnx"
            base.write_bytes(make("base", width, n))
            for form in ("base", "inputs", "dense", "factored"):
                model = make(form, width, n)
                session = onnxruntime.InferenceSession(model, self.options(), providers=providers)
                yield form, session
            for order in (*ORDERS, None):
                name = order or "spectral"
                yield name, spectral(base, width, n, order, self.options(), providers)

    def points(self, width: int, sizes: tuple[int, ...]) -> Iterator[Point]:
        """Everything measured of two layers of a width."""
        for at, n in enumerate(sizes):
            progress(f"width {width}, n {n}")
            sessions = dict(self.sessions("pair", width, n))
            grid = itertools.product(ROWS, TOKENS)
            few = itertools.product(ROWS, FEW)
            for rows, tokens in dict.fromkeys([*grid, *few]):
                if rows * tokens * width**2 * len(TARGETS) > MAX_PRODUCTS:
                    continue
                cases = list(_cases(rows, tokens, width, of_n_alone=at > 0))
                for case, ns, base_ns in self.measured(sessions, cases, width):
                    yield Point(case.form, width, n, case.rows, case.fed, tokens, ns, base_ns)

    def measured(
        self, sessions: Mapping[str, Any], cases: list[Case], width: int
    ) -> Iterator[tuple[Case, float, float]]:
        """Medians of each case's nanoseconds and of the base's; cases take turns."""
        calls = {case: self.call(sessions[case.form], case, width) for case in cases}
        counts = {case: _repetitions(call) for case, call in calls.items()}
        taken: dict[Case, list[float]] = {case: [] for case in cases}
        for _ in range(self.runs):
            for case, call in calls.items():
                taken[case].append(self.sample(call, counts[case]))
        base_ns = statistics.median(taken[cases[0]])
        for case, ns in taken.items():
            yield case, statistics.median(ns), base_ns

    def sample(self, call: Callable[[], object], count: int) -> float:
        clock = time.process_time_ns if self.device == "cpu" else time.perf_counter_ns
        begun = clock()
        for _ in range(count):
            call()
        return (clock() - begun) / count

    def call(self, session: Any, case: Case, width: int) -> Callable[[], object]:
        """One run: arrays on a CPU; on CUDA everything is bound on the device, and waited for."""
        feeds = fed(session, case.fed, case.rows, case.tokens, width)
        if self.device == "cpu":
            return lambda: session.run(None, feeds)
        return _bound(session, feeds)

    def making(self, widths: tuple[int, ...], n: int) -> Json:
        """What it costs to make merged sessions, and delta weights."""
        works: dict[str, list[costs.Work]] = {"merging": [], "delta": []}
        ns: dict[str, list[float]] = {"merging": [], "delta": []}
        for width, topology in itertools.product(widths, TOPOLOGIES):
            progress(f"activation, width {width}, {topology}")
            changed = len(TARGETS) * width**2
            layers = 2 if topology == "pair" else 4 + 2 * FEATURES
            works["merging"].append({"run": 1, "weight": changed, "base_weight": layers * width**2})
            ns["merging"].append(self.activation(topology, width, n))
            adapter = adapter_of(width, n)

            def job(adapter: Any = adapter) -> object:
                return [fourier_format.delta_weight(adapter, name) for name in TARGETS]

            works["delta"].append({"run": 1, "weight": changed})
            seconds = [timed(job).cpu_seconds for _ in range(self.runs + 1)][1:]
            ns["delta"].append(1e9 * statistics.median(seconds))
        return {form: fitted_making(form, works[form], ns[form]) for form in works}

    def activation(self, topology: str, width: int, n: int) -> float:
        """Processor nanoseconds from an adapter to its merged session, the base being prepared."""
        with tempfile.TemporaryDirectory(prefix="forms-") as folder:
            base = Path(folder) / "base.onnx"
            base.write_bytes(TOPOLOGIES[topology]("base", width, n))
            cache, providers = Path(folder) / "cache", PROVIDERS[self.device]
            sessions = MergedSessions(
                base, providers=providers, options=self.options, cache=cache, budget=2**40
            )
            adapter, taken = adapter_of(width, n), []
            for number in range(_ACTIVATIONS):
                own = dataclasses.replace(adapter)

                def job(number: int = number, own: Any = own) -> object:
                    sessions.activate(str(number), own)
                    return sessions.wait(str(number))

                taken.append(timed(job).cpu_seconds)
                sessions.deactivate(str(number))
            sessions.close()
        return 1e9 * statistics.median(taken[1:])

    def layers(self, cases: tuple[tuple[int, int, int], ...], n: int, table: costs.Table) -> Json:
        """Whole transformer layers over their base, measured and as the table predicts."""
        report: Json = {}
        for width in dict.fromkeys(case[0] for case in cases):
            progress(f"transformer layer, width {width}")
            sessions = dict(self.sessions("layer", width, n))
            for _, rows, tokens in (case for case in cases if case[0] == width):
                own = [
                    Case("base", rows, 1, tokens),
                    Case("inputs", rows, 1, tokens),
                    *(Case(form, rows, rows, tokens) for form in ("dense", "factored", "spectral")),
                ]
                report[f"{width}, {rows} x {tokens}"] = {
                    case.form: {
                        "over_base": rounded(ns / base_ns),
                        "predicted": rounded(_predicted(case, width, n, table)),
                    }
                    for case, ns, base_ns in self.measured(sessions, own, width)
                }
        return report


def _cases(rows: int, tokens: int, width: int, *, of_n_alone: bool) -> Iterator[Case]:
    """What is run of one batch; the base first. What n has no part in is measured once."""
    yield Case("base", rows, 1, tokens)
    counts = dict.fromkeys((1, rows))
    if tokens in TOKENS:
        if not of_n_alone:
            yield Case("inputs", rows, 1, tokens)
            for count in counts:
                if count * width**2 <= MAX_FED // len(TARGETS):
                    yield Case("dense", rows, count, tokens)
        yield Case("factored", rows, rows, tokens)
    for order, count in itertools.product(ORDERS, counts):
        if tokens in TOKENS or count == rows:
            yield Case(order, rows, count, tokens)


def _repetitions(call: Callable[[], object]) -> int:
    call()
    seconds = min(timed(call).seconds for _ in range(2))
    return max(1, min(200, round(_SAMPLE_SECONDS / seconds)))


def _bound(session: Any, feeds: dict[str, Array]) -> Callable[[], object]:
    binding = session.io_binding()
    for name, array in feeds.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0)
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda")

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return call


def _few_tokens(points: list[Point]) -> Json:
    """By row over by token, by width, n and rows; and what each threshold costs over the best."""
    places: dict[tuple[int, int, int, int], dict[str, float]] = {}
    for p in points:
        if p.form in ORDERS and p.fed == p.rows and p.tokens <= max(FEW):
            places.setdefault((p.width, p.n, p.rows, p.tokens), {})[p.form] = p.ns
    over: Json = {}
    for (width, n, rows, tokens), ns in places.items():
        of = over.setdefault(f"{width}, n {n}, {rows} rows", {})
        of[str(tokens)] = rounded(ns["by_row"] / ns["by_token"])
    losses: Json = {"one row": {}, "more rows": {}}
    for threshold in (0, *FEW):
        for kind, of in losses.items():
            ratios = [
                ns["by_token" if tokens <= threshold else "by_row"] / min(ns.values())
                for (_, _, rows, tokens), ns in places.items()
                if (rows == 1) is (kind == "one row")
            ]
            mean = rounded(statistics.fmean(ratios))
            of[str(threshold)] = {"mean": mean, "max": rounded(max(ratios))}
    return {"by_row_over_by_token": over, "over_the_better": losses}


def _predicted(case: Case, width: int, n: int, table: costs.Table) -> float:
    """What the table says of a transformer layer, over its base's linear layers."""
    tokens = case.rows * case.tokens
    weights = (4 + 2 * FEATURES) * width**2
    base = table.ns("base", {"run": 1, **costs.linear(weights, tokens)})
    if case.form == "base":
        return 1.0
    order = "by_token" if is_by_token(case.fed, tokens / case.fed) else "by_row"
    form = order if case.form == "spectral" else case.form
    point = Point(form, width, n, case.rows, case.fed, case.tokens, 0.0, 0.0)
    return 1 + table.ns(form, WORKS[form](point)) / base


def _write(device: str, table: Json) -> None:
    """Put a device's table into the package; those of other devices stay."""
    known = json.loads(COSTS.read_text("utf-8")) if COSTS.exists() else {"devices": {}}
    known["devices"][device] = table
    text = json.dumps({"unit": "ns"} | known, indent=1, sort_keys=True)
    COSTS.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
