"""Runs a notebook's cells as plain Python, and keeps what they show: `python -m tests.notebooks docs/python.ipynb`.

No kernel is needed: the cells have no magics, and whoever can import the package can run them. What a cell prints, and
what its last line is, become its outputs, as in a notebook.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cells(notebook: dict[str, Any]) -> None:
    """Runs all cells in one namespace, and puts their outputs into them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = _run("".join(cell["source"]), f"cell {number}", names)
        cell["execution_count"], cell["outputs"] = number, []
        if printed.getvalue():
            text = printed.getvalue().splitlines(keepends=True)
            cell["outputs"].append({"name": "stdout", "output_type": "stream", "text": text})
        if value is not None:
            data = {"data": _shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
            cell["outputs"].append(data)


def _run(source: str, name: str, names: dict[str, Any]) -> Any:
    """The value of the last line, if it is an expression without a semicolon behind it."""
    tree = ast.parse(source, name)
    last = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    if last is None or source.rstrip().endswith(";"):
        exec(compile(tree, name, "exec"), names)
        return None
    tree.body.pop()
    exec(compile(tree, name, "exec"), names)
    return eval(compile(ast.Expression(last.value), name, "eval"), names)


def _shown(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    if html := getattr(value, "_repr_html_", None):
        data["text/html"] = html().splitlines(keepends=True)
    for kind in ("png", "jpeg"):
        picture = getattr(value, f"_repr_{kind}_", lambda: None)()
        if picture and not any(key.startswith("image/") for key in data):
            data[f"image/{kind}"] = base64.b64encode(picture).decode()
    return data


def main() -> None:
    path = Path(sys.argv[1])
    notebook = json.loads(path.read_text("utf-8"))
    run_cells(notebook)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
