"""One training step in Keras: a frozen base, Keras's LoRA and ours, for each backend.

    python benchmarks/keras_step.py [--keras tensorflow,jax,torch] [--modes eager,jit] [--runs 7]

Times: one child process for a backend and a mode, since Keras reads its backend once a process; all
arms of a case in turn. Memory: one child process for an arm. `train_step.py --keras` has the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from measure import Json, child, finish, progress, script, spread
from train_report import Peaks, figures, table

ARMS: Final = ("base", "lora", "ours")
BACKENDS: Final = ("tensorflow", "jax", "torch")
CASES: Final = ("minilm", "bert_base", "dense_2048", "dense_4096")
MODES: Final = ("eager", "jit")
SKIPPED: Final = {
    ("torch", "jit"): "torch.compile took over ten minutes for one layer of width 32, Keras's hooks"
    " being traced anew for each; it trains"
}
PACKAGES: Final = ("numpy", "keras", "keras-hub", "tensorflow-cpu", "jax", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras", type=one_of(BACKENDS), default=BACKENDS, help="its backends")
    parser.add_argument("--runs", type=int, default=7, help="timed steps of each arm")
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--smoke", action="store_true", help="tiny models, to try the script")
    add_options(parser)
    parser.add_argument("--memory-runs", type=int, default=1, help="children of each arm, 0: none")
    parser.add_argument("--child", choices=("times", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments)
        return
    skipped = {" ".join(key): reason for key, reason in SKIPPED.items()}
    results = {
        "n": arguments.n,
        "skipped": skipped,
        "keras": keras_cases(arguments, arguments.keras),
    }
    finish("keras_step", results, PACKAGES)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only Keras's rows have."""
    help_ = ", ".join(CASES)
    parser.add_argument("--keras-cases", type=one_of(CASES), default=CASES, help=help_)
    parser.add_argument("--modes", type=one_of(MODES), default=MODES, help=", ".join(MODES))


def one_of(known: tuple[str, ...]) -> Any:
    """The type of an option that is a list of names."""

    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if not set(chosen) <= set(known):
            raise argparse.ArgumentTypeError(f"{text}: must be of {', '.join(known)}")
        return chosen

    return names


def keras_cases(arguments: argparse.Namespace, backends: tuple[str, ...]) -> Json:
    """Measure all cases: "backend mode case" -> its figures."""
    labels = {"base": "base only", "lora": "LoRA r=8, Keras", "ours": f"ours n={arguments.n}"}
    measured: Json = {}
    for backend, mode in itertools.product(backends, arguments.modes):
        if (backend, mode) in SKIPPED:
            progress(f"without {backend} {mode}: {SKIPPED[backend, mode]}")
            continue
        timed = _run("times", backend, mode, arguments.keras_cases, arguments)
        for case, done in timed.items():
            peaks = _peaks(backend, mode, case, arguments)
            measured[f"{backend} {mode} {case}"] = _figures(done, peaks)
    progress(table(measured, labels))
    return measured


def _peaks(backend: str, mode: str, case: str, arguments: argparse.Namespace) -> Peaks:
    """What each arm's processes reached."""
    peaks: dict[str, list[Mapping[str, float]]] = {arm: [] for arm in ARMS}
    for _, arm in itertools.product(range(arguments.memory_runs), ARMS):
        peaks[arm].append(_run("memory", backend, mode, [case], arguments, "--arm", arm))
    return peaks


def _run(
    what: str,
    backend: str,
    mode: str,
    cases: Sequence[str],
    arguments: argparse.Namespace,
    *more: str,
) -> Json:
    options = ["--runs", str(arguments.runs), "--n", str(arguments.n), *more]
    options += ["--keras-cases", ",".join(cases)]
    options += ["--smoke"] if arguments.smoke else []
    progress(" ".join((what, backend, mode, *options)))
    command = script("keras_step.py", "--child", what, "--keras", backend, "--modes", mode)
    done: Json = child([*command, *options]).json()
    return done


def _figures(done: Json, peaks: Peaks) -> Json:
    """The figures of a case; on a busy machine the ratio of processor times is the steadier."""
    measured: Json = done["case"] | figures(done, peaks)
    ours, lora = (done["arms"][arm]["calls"] for arm in ("ours", "lora"))
    pairs = (own[1] / peer[1] for own, peer in zip(ours, lora, strict=True))
    measured["ratios"]["ours_over_lora_cpu"] = spread(pairs)
    return measured


def _child(arguments: argparse.Namespace) -> None:
    """Measure in this process; only here is Keras loaded, by the backend that is asked for."""
    (backend,), (mode,) = arguments.keras, arguments.modes
    os.environ["KERAS_BACKEND"] = backend
    from keras_arms import Setup, case_of, memory, times

    setups = {
        name: Setup(case_of(name, smoke=arguments.smoke), mode, arguments.n)
        for name in arguments.keras_cases
    }
    if arguments.child == "memory":
        (setup,) = setups.values()
        print(json.dumps(memory(arguments.arm, setup)))
        return
    print(json.dumps({name: times(ARMS, setup, arguments.runs) for name, setup in setups.items()}))


if __name__ == "__main__":
    main()
