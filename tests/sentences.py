"""Every sentence with which the package tells an error or a warning, found in its code; … for what varies."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TELLING = frozenset(["complain", "warning", "Failure", "failed"])
"""What tells a sentence beside errors: the last words of a command, a warning of the log, a line of failures.jsonl."""
SAYING = frozenset(["info", "debug", "print", "add_argument", "compile"])
"""What tells how a run goes on, help, and patterns."""
OURS = frozenset(["AssertionError", "KeyError", "IndexError", "StopIteration", "NotImplementedError"])
"""Errors that no user is to see."""
FEWEST_WORDS = 4
"""Strings with fewer words are parts of a sentence, names or keys."""
ELSEWHERE = ("cli.py", "demo/accuracy.py", "products/report", "products/second_read.py", "run/dry_run.py")
"""Beginnings of the files whose loose sentences tell no trouble: help, figures, headings."""


class Module(NamedTuple):
    """One file's code."""

    file: str
    tree: ast.Module
    classes: list[ast.ClassDef]
    functions: list[ast.FunctionDef]
    constants: dict[str, ast.expr]


def sentences(package: Path) -> dict[str, str]:
    """Each sentence, and the first line of code that has it (`pictures/header.py:72`)."""
    modules = [_module(file, package) for file in sorted(package.rglob("*.py"))]
    search = _Search(_error_classes(modules), _functions(modules))
    for module in modules:
        search.look_through(module)
    return search.found


def _module(file: Path, package: Path) -> Module:
    tree = ast.parse(file.read_text("utf-8"))
    statements = [*_statements(tree)]
    classes = [node for node in statements if isinstance(node, ast.ClassDef)]
    functions = [node for node in statements if isinstance(node, ast.FunctionDef)]
    return Module(file.relative_to(package).as_posix(), tree, classes, functions, dict(_assigned(tree.body)))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All below, without a look at their expressions."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, field, None) or []:
            yield child
            yield from _statements(child)


def _assigned(statements: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in statements:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _error_classes(modules: list[Module]) -> set[str]:
    """Names of errors that users see: those of the package, and Python's own that end in Error."""
    bases = {node.name: {_name(base) for base in node.bases} for module in modules for node in module.classes}
    errors = {"Exception"}
    while more := {name for name, above in bases.items() if name not in errors and (above & errors or _ends(above))}:
        errors |= more
    return errors - OURS


def _ends(names: set[str]) -> bool:
    return any(name.endswith("Error") for name in names)


def _functions(modules: list[Module]) -> dict[str, list[tuple[ast.FunctionDef, Module]]]:
    found: dict[str, list[tuple[ast.FunctionDef, Module]]] = {}
    for module in modules:
        for node in module.functions:
            found.setdefault(node.name, []).append((node, module))
    return found


class _Search:
    """Follows what is given to errors and warnings back to the strings that it is made of."""

    def __init__(self, errors: set[str], functions: dict[str, list[tuple[ast.FunctionDef, Module]]]) -> None:
        self.found: dict[str, str] = {}
        self._errors, self._functions = errors, functions
        self._seen: set[ast.AST] = set()

    def look_through(self, module: Module) -> None:
        """Notes the sentences of one file: what errors and warnings are given, and loose strings with a remedy."""
        for scope in (module.tree, *module.functions):
            for node in _own_nodes(scope):
                if isinstance(node, ast.Call) and self._tells(_name(node.func)):
                    for given in [*node.args, *(keyword.value for keyword in node.keywords)]:
                        self._follow(given, scope, module)
        if not module.file.startswith(ELSEWHERE):
            self._take_loose(module.tree, module)

    def _take_loose(self, node: ast.AST, module: Module) -> None:
        """Reasons that travel in columns and tables before they are told: they end in a point or have a semicolon."""
        for child in ast.iter_child_nodes(node):
            told = pattern(child)
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            if isinstance(child, ast.Call) and _name(child.func) in SAYING:
                continue
            if told is not None and "\n" not in told and (told.endswith(".") or "; " in told):
                self._note(child, told, module)
            if told is None:
                self._take_loose(child, module)

    def _note(self, node: ast.AST, told: str, module: Module) -> None:
        if sum(any(letter.isalpha() for letter in word) for word in told.split()) >= FEWEST_WORDS:
            self.found.setdefault(told, f"{module.file}:{node.lineno}")  # type: ignore[attr-defined]

    def _tells(self, name: str) -> bool:
        return name in TELLING or name in self._errors or (name.endswith("Error") and name not in OURS)

    def _called(self, name: str, module: Module) -> list[tuple[ast.FunctionDef, Module]]:
        """The functions of that name: the file's own, or else those of other files."""
        all_of_them = self._functions.get(name, [])
        return [found for found in all_of_them if found[1] is module] or all_of_them

    def _follow(self, node: ast.AST, scope: ast.AST, module: Module) -> None:
        if node in self._seen:
            return
        self._seen.add(node)
        told = pattern(node)
        if told is not None:
            self._note(node, told, module)
        if isinstance(node, ast.Name):
            local = [value for name, value in _assigned_in(scope) if name == node.id]
            for value in local or [module.constants.get(node.id, node)]:
                self._follow(value, scope, module)
        elif isinstance(node, ast.Call):
            for function, home in self._called(_name(node.func), module):
                for part in _own_nodes(function):
                    if isinstance(part, (ast.Return, ast.Yield)) and part.value:
                        self._follow(part.value, function, home)
        for child in _varying(node) if told is not None else ast.iter_child_nodes(node):
            self._follow(child, scope, module)


@cache
def _own_nodes(scope: ast.AST) -> list[ast.AST]:
    """All nodes below, but not those of functions inside."""
    found, waiting = [], [scope]
    while waiting:
        children = [child for child in ast.iter_child_nodes(waiting.pop()) if not isinstance(child, ast.FunctionDef)]
        found += children
        waiting += children
    return found


@cache
def _assigned_in(scope: ast.AST) -> list[tuple[str, ast.expr]]:
    return [*_all_assigned(_own_nodes(scope))]


def _all_assigned(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            yield from ((_name(target), node.value) for target in node.targets[0].elts)
        elif isinstance(node, (ast.NamedExpr, ast.AugAssign)) and isinstance(node.target, ast.Name):
            yield node.target.id, node.value


def _varying(string: ast.AST) -> Iterator[ast.AST]:
    """What varies in a string: the values between its words."""
    for child in ast.iter_child_nodes(string):
        if isinstance(child, ast.FormattedValue):
            yield child.value
        elif _text(child) is not None:
            yield from _varying(child)
        elif isinstance(child, ast.expr):
            yield child


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def pattern(node: ast.AST) -> str | None:
    """A string's constant words with … for what varies; None for what is not a string."""
    text = _text(node)
    return None if text is None else re.sub("…{2,}", "…", " ".join(text.split()))


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return re.sub(r"%[-.\d]*[sdrgfi]", "…", node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else f"{left or '…'}{right or '…'}"
    return None
