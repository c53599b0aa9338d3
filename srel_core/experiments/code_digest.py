"""A hash of what code does, for the key of a result that it computed."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

_HERE = Path(__file__).parents[1]  # the package


def code_digest(modules: Iterable[str]) -> str:
    """A hash of what these modules of srel_core do: comments, docstrings and layout left out."""
    digest = hashlib.sha256()
    for name in sorted(modules):
        tree = ast.parse((_HERE / f"{name}.py").read_text(encoding="utf-8"))
        digest.update(f"{name}\n{_essence(tree)}\n".encode())
    return digest.hexdigest()


def _essence(node: object) -> object:
    """A syntax tree as nested tuples, without docstrings, and the same for every Python: later
    versions add fields, empty for code of older ones, and print trees in another way."""
    if isinstance(node, list):
        return tuple(_essence(item) for item in node if not _is_docstring(item))
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, getattr(node, name, None)) for name in node._fields)
    return type(node).__name__, *((n, _essence(v)) for n, v in fields if v not in (None, []))


def _is_docstring(statement: object) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
