"""What of the library a chapter imports, found without executing it.

Where that cannot be read off the code, as with a module that is chosen by a computed name, all of
the library counts: a chapter may be executed once too often, and never keeps an old result.
"""

import ast
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

LIBRARY = "srel_core"
EVERYTHING = f"{LIBRARY}.*"
COMPUTED = ("import_module", "__import__")
UNREADABLE = ast.parse(f"from {LIBRARY} import *")


class Library:
    """The modules of the package in the folder `home`, and what each of them imports."""

    def __init__(self, home: Path) -> None:
        self.modules: dict[str, Path] = {}  # dotted name → file; a package is its __init__.py
        for path in sorted((home / LIBRARY).rglob("*.py")):
            parts = path.relative_to(home).with_suffix("").parts
            self.modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self._asked: dict[str, set[str]] = {}

    @cached_property
    def exported(self) -> dict[str, dict[str, str]]:
        """Package → name → module of what it loads when it is asked for."""
        tables: dict[str, dict[str, str]] = {}
        for package, path in self.modules.items():
            if path.name != "__init__.py":
                continue
            for node in nodes(parsed(path.read_text("utf8"))):
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES":
                    named = ast.literal_eval(node.value).items()
                    tables[package] = {n: f"{package}.{m}" for m, names in named for n in names}
        return tables

    def imported_by(self, notebook: Path) -> list[Path]:
        """The files that `notebook` makes Python load, those that these name in strings, and what
        lies beside a module under its name, as the script and the style of a figure do."""
        cells = json.loads(notebook.read_text("utf8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found: set[str] = set()
        open_ = self._resolved(asked("\n".join(code)))
        while open_:
            module = open_.pop()
            found.add(module)
            if module not in self._asked:
                text = self.modules[module].read_text("utf8")
                self._asked[module] = self._resolved(asked(text, lazy=module in self.exported))
            open_ |= self._asked[module] - found
        files = {self.modules[module] for module in found}
        beside = {path for file in files for path in file.parent.glob(f"{file.stem}.*")}
        return sorted(files | beside)

    def _resolved(self, names: Iterator[str]) -> set[str]:
        """The modules that stand behind names such as srel_core.flows.RidgeFlow. Who takes a
        package inside the library may ask it for all that it loads."""
        found: set[str] = set()
        for name in names:
            found.update(self._along(name))
            if name != LIBRARY:
                found.update(*(self._along(m) for m in self.exported.get(name, {}).values()))
        return found

    def _along(self, name: str) -> Iterator[str]:
        package, _, last = name.rpartition(".")
        if last == "*":
            yield from (m for m in self.modules if f"{m}.".startswith(f"{package}."))
        if last in self.exported.get(package, {}):
            yield from self._along(self.exported[package][last])
        if name in self.modules:
            yield name
        if package:
            yield from self._along(package)


def asked(code: str, lazy: bool = False) -> Iterator[str]:
    """Names in the library that the code asks for. `lazy`: it is the __init__.py of a package that
    loads by name what others ask for."""
    found = list(nodes(parsed(code)))
    own = {name for node in found if isinstance(node, ast.Import) for name in bound(node)}
    followed = {id(node.value) for node in found if isinstance(node, ast.Attribute)}
    for node in found:
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(level=0, module=module, names=names):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.Attribute(value=ast.Name(id=package), attr=name) if package in own:
                yield f"{LIBRARY}.{name}"
            case ast.keyword(arg="packages", value=packages):  # that a digest of code takes in
                yield from whole(packages)
            case ast.ImportFrom():
                yield EVERYTHING
            case ast.Name(id=name) if name in own and id(node) not in followed:
                yield EVERYTHING
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                if name in COMPUTED and not lazy:
                    yield EVERYTHING


def whole(packages: ast.expr) -> list[str]:
    """All modules of packages whose names are written out; of all, where they are computed."""
    try:
        return [f"{LIBRARY}.{name}.*" for name in ast.literal_eval(packages)]
    except (ValueError, TypeError):
        return [EVERYTHING]


def parsed(code: str) -> ast.Module:
    """Its syntax tree; one that asks for everything if this is not Python but IPython's `%run`."""
    try:
        return ast.parse(code)
    except SyntaxError:
        return UNREADABLE


def bound(node: ast.Import) -> Iterator[str]:
    """The names by which the package itself can be called after an import."""
    for name in node.names:
        if name.name == LIBRARY or (name.name.startswith(f"{LIBRARY}.") and not name.asname):
            yield name.asname or LIBRARY


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of `if TYPE_CHECKING:`, which is never true."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (inner for branch in node.orelse for inner in [branch, *nodes(branch)])
        else:
            yield node
            yield from nodes(node)
