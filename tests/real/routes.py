"""The commands of the main job, run in this process."""

from pathlib import Path


def convert(*arguments: str | Path) -> None:
    """Run ``fourier-convert``; anything but success is a failure (its stderr is in the report)."""
    from fourier_converters.cli import main

    code = main([str(argument) for argument in arguments])
    assert code == 0, f"fourier-convert {' '.join(map(str, arguments))} exited with {code}"


def two_steps(adapter: Path, fft_base: Path, onnx_base: Path, folder: Path, *options: str) -> Path:
    """Checkpoint -> .fft -> merged ONNX; ``options`` go to the first step."""
    fft, merged = folder / "adapter.fft", folder / "merged.onnx"
    convert(adapter, "--to", "fft", "--base", fft_base, "-o", fft, *options)
    convert(fft, "--to", "onnx", "--base", onnx_base, "-o", merged)
    return merged


def one_step(adapter: Path, onnx_base: Path, folder: Path, *options: str) -> Path:
    """Checkpoint -> merged ONNX."""
    merged = folder / "merged.onnx"
    convert(adapter, "--to", "onnx", "--base", onnx_base, "-o", merged, *options)
    return merged
