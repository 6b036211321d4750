"""Nothing leans on names that other packages keep for themselves: they may go with any release."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from conftest import REPOSITORY

FILES = [
    path
    for folder in ("monai_robust", "benchmarks", "examples", "studies")
    for path in (REPOSITORY / folder).rglob("*.py")
]

ALLOWED = {
    "_do_transform": "MONAI documents it for subclasses of RandomizableTransform",
    "_iteration": "MONAI documents it as a trainer's method to override",
    "_fields": "how Python documents that a tuple has names",
    "_forward_hooks": "torch has no public way to ask whether a module has hooks, which a faster form would not run",
    "_forward_pre_hooks": "likewise",
    "_version": "torch's count of changes in place, without which every buffer would be written anew",
    "_modules": "the children of a module under each of their names; named_children leaves out the second name",
    "_autoattack": "of another library that is measured as its authors use it",
}
OWN_IN_STRINGS = {"getattr", "hasattr", "setattr", "delattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def own_names(tree: ast.AST) -> Iterator[str]:
    """Names that a file makes itself: functions, classes, variables, and attributes of its own objects."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            yield node.attr


def is_own(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Private names that a file uses, imports from elsewhere, or asks an object for by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.lineno, node.attr
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            source = getattr(node, "module", None)
            for full in [f"{source}.{alias.name}" if source else alias.name for alias in node.names]:
                parts = full.split(".")
                first = next((place for place, part in enumerate(parts) if is_private(part)), None)
                if first is not None and parts[0] != "monai_robust":
                    yield node.lineno, ".".join(parts[: first + 1])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OWN_IN_STRINGS:
            name = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else ""
            if isinstance(name, str) and is_private(name):
                yield node.lineno, name


def foreign(files: dict[str, ast.AST]) -> list[str]:
    """Private names that none of the files makes."""
    ours = {name for tree in files.values() for name in own_names(tree)}
    found = ((file, *use) for file, tree in files.items() for use in private_names(tree))
    return [f"{file}:{line} {name}" for file, line, name in found if name not in ours and name not in ALLOWED]


def test_nothing_leans_on_private_names_of_other_packages():
    assert len(FILES) > 200
    assert foreign({str(path.relative_to(REPOSITORY)): ast.parse(path.read_text()) for path in FILES}) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from torch.nn.modules.loss import _Loss", ["file:1 torch.nn.modules.loss._Loss"]),
        ("import torch._dynamo as dynamo", ["file:1 torch._dynamo"]),
        ("engine._event_handlers", ["file:1 _event_handlers"]),
        ("getattr(tqdm, '_instances', ())", ["file:1 _instances"]),
        ("class A:\n    def __init__(self): self._own = 1\ndef f(a): return a._own", []),
        ("from monai_robust.attacks import _ours\nmodule._forward_hooks\nx.__dict__", []),
    ],
)
def test_private_names_are_found(code, found):
    assert foreign({"file": ast.parse(code)}) == found
