"""One training step in Keras: a frozen base, Keras's LoRA and ours, for each backend.

    python benchmarks/keras_step.py [--keras tensorflow,jax,torch] [--modes eager,jit] [--runs 7]

Times: one child process for a backend, mode and case, all arms in turn, since Keras reads its
backend once a process. Memory: one child process for an arm. `train_step.py --keras` has the same.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Final

from measure import Json, child, finish, progress, script
from train_report import Peaks, figures, table

ARMS: Final = ("base", "lora", "ours")
BACKENDS: Final = ("tensorflow", "jax", "torch")
CASES: Final = ("minilm", "bert_base", "dense_2048", "dense_4096")
MODES: Final = ("eager", "jit")
PACKAGES: Final = ("numpy", "keras", "keras-hub", "tensorflow-cpu", "jax", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras", type=one_of(BACKENDS), default=BACKENDS, help="its backends")
    parser.add_argument("--runs", type=int, default=7, help="timed steps of each arm")
    parser.add_argument("--memory-runs", type=int, default=1, help="children of each arm, 0: none")
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--smoke", action="store_true", help="tiny models, to try the script")
    add_options(parser)
    parser.add_argument("--child", choices=("times", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_child(arguments)))
        return
    results = {"n": arguments.n, "keras": keras_cases(arguments, arguments.keras)}
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
    """Measure all cases: "backend mode case" -> its figures, or why there are none."""
    labels = {"base": "base only", "lora": "LoRA r=8, Keras", "ours": f"ours n={arguments.n}"}
    measured: Json = {}
    for backend in backends:
        for mode in arguments.modes:
            for case in arguments.keras_cases:
                measured[f"{backend} {mode} {case}"] = _case(backend, mode, case, arguments)
    progress(table({k: v for k, v in measured.items() if "arms" in v}, labels))
    return measured


def _case(backend: str, mode: str, case: str, arguments: argparse.Namespace) -> Json:
    shared = ["--runs", str(arguments.runs), "--n", str(arguments.n)]
    shared += ["--keras", backend, "--modes", mode, "--keras-cases", case]
    shared += ["--smoke"] if arguments.smoke else []

    def run(what: str, *options: str) -> Json:
        progress(f"{backend} {mode} {case}: {what} {' '.join(options)}")
        return child(script("keras_step.py", *shared, "--child", what, *options)).json()

    done = run("times")
    turns = [
        (arm, run("memory", "--arm", arm)) for _ in range(arguments.memory_runs) for arm in ARMS
    ]
    peaks: Peaks = {arm: [peak for whose, peak in turns if whose == arm] for arm in ARMS}
    found: Json = done["case"] | figures(done, peaks)
    return found


def _child(arguments: argparse.Namespace) -> Json:
    """Measure in this process; only here is Keras loaded, by the backend that is asked for."""
    (backend,), (mode,), (case,) = arguments.keras, arguments.modes, arguments.keras_cases
    os.environ["KERAS_BACKEND"] = backend
    from keras_arms import Setup, case_of, memory, times

    setup = Setup(case_of(case, smoke=arguments.smoke), mode, arguments.n)
    if arguments.child == "memory":
        return memory(arguments.arm, setup)
    return times(ARMS, setup, arguments.runs)


if __name__ == "__main__":
    main()
