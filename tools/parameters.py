"""The parameters of a chapter: what its cell tagged `parameters` declares, and their values.

Papermill only warns about a parameter that the notebook does not have, and takes any value for
one that it has. Here the annotation decides, and the nearest name is offered.
"""

import ast
import difflib
from dataclasses import dataclass
from types import GenericAlias, UnionType
from typing import Any, get_args, get_origin

import nbformat

TYPES = {"bool": bool, "float": float, "int": int, "list": list, "str": str, "None": None}


class ParameterError(ValueError):
    """A parameters cell or a value for it that cannot be used: one line, with the way out."""


@dataclass(frozen=True)
class Parameter:
    """One line `name: annotation = default` of the parameters cell."""

    name: str
    annotation: str
    default: str
    type: Any

    def read(self, text: str) -> Any:
        """The value that `text`, as typed on a command line, has for this parameter."""
        try:
            value = text if self.type is str else ast.literal_eval(text)
            return fit(value, self.type)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise ParameterError(
                f"parameter {self.name!r} is declared as {self.annotation}, got {text!r}; "
                f'write it like its default: -p {self.name} "{self.default}"'
            ) from None


def fit(value: Any, wanted: Any) -> Any:
    """`value` as the type `wanted` (an int serves as a float); TypeError if it is of another."""
    if isinstance(wanted, UnionType):
        for choice in get_args(wanted):
            try:
                return fit(value, choice)
            except TypeError:
                continue
    elif get_origin(wanted) is list:
        if isinstance(value, list):
            return [fit(item, get_args(wanted)[0]) for item in value]
    elif wanted is float and type(value) is int:
        return float(value)
    elif type(value) is wanted:
        return value
    raise TypeError(f"{value!r} is not {wanted}")


def declared(notebook: nbformat.NotebookNode) -> dict[str, Parameter]:
    """The parameters of `notebook`, by name."""
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"expected one cell tagged 'parameters', found {len(tagged)}")
    try:
        statements = ast.parse(tagged[0].source).body
    except SyntaxError as error:
        raise ParameterError(f"the parameters cell is not valid Python: {error}") from None
    parameters = map(declaration, statements)
    return {parameter.name: parameter for parameter in parameters}


def declaration(statement: ast.stmt) -> Parameter:
    match statement:
        case ast.AnnAssign(
            target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value
        ):
            written = ast.unparse(annotation)
            return Parameter(name, written, ast.unparse(value), as_type(name, written))
    raise ParameterError(
        f"the parameters cell holds `{ast.unparse(statement)}`; write each line as "
        "`name: type = value`"
    )


def as_type(name: str, annotation: str) -> Any:
    """The type that the text of an annotation names, out of `TYPES`, list[…] and …|…."""
    try:
        found = eval(annotation, {"__builtins__": {}}, TYPES)
    except (NameError, TypeError):
        found = None
    if isinstance(found, type | UnionType | GenericAlias) and found is not list:
        return found
    raise ParameterError(
        f"parameter {name!r} is declared as {annotation}; use bool, float, int, str, list[…] of "
        "these, or one of them `| None`"
    )


def read(notebook: nbformat.NotebookNode, given: list[tuple[str, str]]) -> dict[str, Any]:
    """Values for the `given` (name, text) pairs, checked against what `notebook` declares."""
    parameters = declared(notebook)
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ParameterError(
                f"there is no parameter {name!r}; {hint}The chapter has: {', '.join(parameters)}"
            )
        if name in values:
            raise ParameterError(f"parameter {name!r} is given twice; give it once")
        values[name] = parameters[name].read(text)
    return values
