"""Imports point one way, so that the format stays usable alone (ARCHITECTURE.md)."""

from __future__ import annotations

from tests.architecture.source import PACKAGES, ROOT, imported, modules

MAY_IMPORT = {
    "fourier_format": {"fourier_format"},
    "fourier_converters": {"fourier_format", "fourier_converters"},
    "fourier_trainers": {"fourier_format", "fourier_trainers"},
    "fourier_runtimes": {"fourier_format", "fourier_converters", "fourier_runtimes"},
}
FOLDERS = {"tests", "spec", "tools", "docs", "examples", "benchmarks", "experiments"}
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "peft", "transformers", "safetensors"}
WITHOUT_FRAMEWORK = {"fourier_format", "fourier_converters", "fourier_runtimes"}


def broken(package: str, name: str) -> bool:
    top = name.split(".", maxsplit=1)[0]
    ours = top in PACKAGES and top not in MAY_IMPORT[package]
    framework = package in WITHOUT_FRAMEWORK and top in FRAMEWORKS
    return ours or framework or top in FOLDERS


def test_the_packages_are_found() -> None:
    assert {package for package, _ in modules()} >= {"fourier_format", "fourier_converters"}


def test_every_import_follows_the_arrows() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for package, path in modules()
        for line, name in imported(path)
        if broken(package, name)
    ]

    assert wrong == []


def test_imports_are_absolute() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for _, path in modules()
        for line, name in imported(path)
        if name.startswith(".")
    ]

    assert wrong == []


def test_the_rule_itself_sees_a_wrong_import() -> None:
    assert broken("fourier_format", "fourier_converters.cli")
    assert broken("fourier_format", "tests.tolerances")
    assert broken("fourier_converters", "torch.nn")
    assert broken("fourier_converters", "fourier_trainers")
    assert not broken("fourier_converters", "fourier_format.atomic")
    assert not broken("fourier_format", "numpy")


def test_source_roots_are_no_packages() -> None:
    roots = [ROOT / name for name in ("converters", "trainers", "runtimes")]

    assert [root for root in roots if (root / "__init__.py").exists()] == []
