"""The main job on a real adapter: a .fft trained in PyTorch -> merged ONNX -> ONNX Runtime.

Runs the commands that a user would type, then checks the merged model's outputs against those
that PyTorch gave; and once more for a checkpoint of PEFT. Needs neither torch nor scikit-learn.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
BASE, ADAPTER, PEFT = HERE / "base.onnx", HERE / "adapter.fft", HERE / "peft_adapter"
TOLERANCE = 5e-6  # of the largest output; tests/tolerances.py, ONNX_OUTPUT_F32

Array = npt.NDArray[np.float32]


def main() -> int:
    """Run the demo; returns 0 if the merged models are right."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    merged, from_peft, merged_peft = (OUT / f for f in ("merged.onnx", "peft.fft", "peft.onnx"))
    run("fourier-format", "validate", ADAPTER)
    run("fourier-convert", ADAPTER, "--to", "onnx", "--base", BASE, "-o", merged)
    print("\nAnd what PEFT trained, which has no entries of its own:")
    run("fourier-convert", PEFT, "--to", "fft", "--base", BASE, "-o", from_peft)
    run("fourier-convert", from_peft, "--to", "onnx", "--base", BASE, "-o", merged_peft, "--quiet")

    digits = np.load(HERE / "held_out.npz")
    labels, turned = digits["labels"], digits["turned"]
    outputs = {path: logits(path, turned) for path in (BASE, merged, merged_peft)}
    print(f"\n{len(labels)} held-out digits, turned by 90 degrees, in ONNX Runtime:")
    for title, path in [
        ("base model", BASE),
        ("with adapter.fft", merged),
        ("with PEFT's adapter", merged_peft),
    ]:
        print(f"  {title:<20} accuracy {accuracy(outputs[path], labels):.3f}   {size(path)}")
    print(f"  the adapters between them: {size(ADAPTER)}; {size(from_peft)}")

    errors = [
        relative(outputs[merged], digits["adapted_logits_turned"]),
        relative(outputs[merged_peft], digits["peft_logits_turned"]),
    ]
    shown = ", ".join(f"{error:.1e}" for error in errors)
    print(f"\nlargest difference from PyTorch, relative: {shown} (at most {TOLERANCE:.0e})")
    right = max(errors) <= TOLERANCE
    print("the merged models equal torch's" if right else "A MERGED MODEL DIFFERS FROM TORCH'S")
    return 0 if right else 1


def run(command: str, *arguments: object) -> None:
    """Show a command and run it, from the environment that runs this script."""
    words = [str(argument) for argument in arguments]
    shown = (str(Path(word).relative_to(HERE)) if word.startswith("/") else word for word in words)
    print(f"\n$ {command} {' '.join(shown)}", flush=True)
    subprocess.run([Path(sys.executable).parent / command, *words], check=True)  # noqa: S603 (our own command)


def logits(model: Path, pixels: Array) -> Array:
    """Returns the model's outputs, (digits, 10)."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"pixels": pixels})[0])


def accuracy(outputs: Array, labels: npt.NDArray[np.int64]) -> float:
    """Returns the share of digits that are named right."""
    return float((outputs.argmax(axis=1) == labels).mean())


def relative(outputs: Array, reference: Array) -> float:
    """Returns the largest difference over the largest magnitude."""
    return float(np.abs(outputs - reference).max() / np.abs(reference).max())


def size(path: Path) -> str:
    """Returns a file's name and size in words."""
    return f"{path.name}, {path.stat().st_size / 1000:.1f} kB"


if __name__ == "__main__":
    sys.exit(main())
