"""A module answers one question, a function fits on a screen."""

from __future__ import annotations

import ast

from tests.architecture.source import ROOT, modules, tree

MODULE_LINES = 400
FUNCTION_LINES = 60


def test_no_module_is_longer_than_one_question_needs() -> None:
    sizes = {path: len(path.read_text("utf-8").splitlines()) for _, path in modules()}

    too_long = {str(p.relative_to(ROOT)): n for p, n in sizes.items() if n > MODULE_LINES}

    assert too_long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for _, path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES
    ]

    assert too_long == []
