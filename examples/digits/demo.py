"""The main job on a real adapter: PEFT checkpoint -> .fft -> merged ONNX -> ONNX Runtime.

Runs the commands that a user would type, then checks the merged model's outputs against those
that PEFT itself gave in torch. Needs neither torch nor scikit-learn.
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
TOLERANCE = 5e-6  # of the largest output; tests/tolerances.py, ONNX_OUTPUT_F32

Array = npt.NDArray[np.float32]


def main() -> int:
    """Run the demo; returns 0 if the merged model is right."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    base, adapter, merged = HERE / "base.onnx", OUT / "digits.fft", OUT / "digits.base.onnx"
    run("fourier-convert", HERE / "peft_adapter", "--to", "fft", "--base", base, "-o", adapter)
    run("fourier-format", "validate", adapter)
    run("fourier-convert", adapter, "--to", "onnx", "--base", base)

    digits = np.load(HERE / "held_out.npz")
    labels, turned = digits["labels"], digits["turned"]
    before, after = logits(base, turned), logits(merged, turned)
    reference = digits["adapted_logits_turned"]
    error = float(np.abs(after - reference).max() / np.abs(reference).max())

    print(f"""
{len(labels)} held-out digits, turned by 90 degrees, in ONNX Runtime:
  base model     accuracy {accuracy(before, labels):.3f}   {size(base)}
  merged model   accuracy {accuracy(after, labels):.3f}   {size(merged)}
  the adapter between them: {size(adapter)}

largest difference from PEFT in torch, relative: {error:.1e} (at most {TOLERANCE:.0e})""")
    right = error <= TOLERANCE
    print("the merged model equals PEFT's" if right else "THE MERGED MODEL DIFFERS FROM PEFT'S")
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


def size(path: Path) -> str:
    """Returns a file's name and size in words."""
    return f"{path.name}, {path.stat().st_size / 1000:.1f} kB"


if __name__ == "__main__":
    sys.exit(main())
