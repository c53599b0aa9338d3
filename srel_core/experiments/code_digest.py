"""What the numbers of an experiment depend on in the sources of this package, as one hash.

No list of modules has to be kept: from the experiment's own module on, whatever is imported
counts, except what is said to change no number. Of a module with a registry, such as that of the
divergences, only the entries that the experiment uses count: adding one leaves the results of
others their names. Comments, docstrings and layout do not count.
"""

import ast
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_WHOLE = "*"


@dataclass(frozen=True)
class Registry:
    """A table in a module, of which an experiment uses some entries.

    module, name   such as "divergence" and "_ALL": a dict, whose entries go by their keys, or a
                   tuple or list of calls, whose entries go by their first arguments
    used           the entries that count. Of the rest of the module there counts what these and
                   the importing modules refer to, transitively.
    """

    module: str
    name: str
    used: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """The part of a package's sources that the numbers of an experiment depend on.

    start       a module, as "experiments.class_experiment": it counts, and what it imports from
                the package, transitively
    packages    their modules count, all of them, imported or not
    left_out    modules and packages that change no number: nor does what only they import
    registries  at most one for each module
    package     the folder of the package
    """

    start: str
    packages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    registries: tuple[Registry, ...] = ()
    package: Path = field(default_factory=lambda: PACKAGE, repr=False)  # pages show the repr

    def counted(self) -> dict[str, list["_Statement"]]:
        """By module, its top-level statements that count, in their order; of a registry the
        entries that are used alone. LookupError for a registry or an entry that is not there."""
        registries = {registry.module: registry for registry in self.registries}
        modules: dict[str, _Module] = {}
        waiting = [(self.start, _WHOLE)]
        waiting += [(name, _WHOLE) for package in self.packages for name in self._below(package)]
        while waiting:
            name, wanted = waiting.pop()
            if any(f"{name}.".startswith(f"{out}.") for out in self.left_out):
                continue
            if name not in modules:
                modules[name] = _Module(self.package, name, registries.get(name))
            waiting += modules[name].ask(wanted)
        return {name: module.counted for name, module in modules.items()}

    def _below(self, package: str) -> list[str]:
        """The names of all modules in a package."""
        folder = self.package.joinpath(*package.split("."))
        paths = [path.relative_to(self.package) for path in folder.rglob("*.py")]
        if not paths:
            raise LookupError(f"expected a package {package}, found no module in {folder}")
        parts = [path.with_suffix("").parts for path in paths]
        return [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts]


@cache
def code_digest(sources: Sources) -> str:
    """A hash (hex) of what these sources do, as they were when first asked for."""
    digest = hashlib.sha256()
    for name, statements in sorted(sources.counted().items()):
        digest.update("\n".join([name, *(s.essence for s in statements), ""]).encode())
    return digest.hexdigest()


class _Module:
    """One module, and what of it has been asked for so far."""

    def __init__(self, package: Path, name: str, registry: Registry | None) -> None:
        self.package, self.name, self.registry = package, name, registry
        self.statements = _statements(_file(package, name).read_text(encoding="utf-8"))
        if registry:
            self.statements = _with_used_entries(self.statements, registry)
        self.asked: set[str] = set()
        self.taken: set[int] = set()

    @property
    def counted(self) -> list["_Statement"]:
        return [self.statements[index] for index in sorted(self.taken)]

    def ask(self, name: str) -> list[tuple[str, str]]:
        """Count what defines `name` here; the modules, and the names in them, that this needs."""
        name = name if self.registry else _WHOLE
        if name in self.asked:
            return []
        self.asked.add(name)
        needed: list[tuple[str, str]] = []
        for index, statement in enumerate(self.statements):
            # What binds no name, such as a loop that fills a table, acts on whatever is there.
            wanted = name == _WHOLE or name in statement.bound or not statement.bound
            if wanted and index not in self.taken:
                self.taken.add(index)
                needed += [found for i in statement.imports for found in self._inside(*i)]
                needed += [(self.name, used) for used in statement.names if self.registry]
        return needed

    def _inside(self, origin: str, name: str) -> list[tuple[str, str]]:
        """What an import asks of the package, if anything: a module, and a name in it."""
        root, _, module = origin.partition(".")
        if origin.startswith("."):
            raise LookupError(f"{self.name}: expected imports by full names, found a dot")
        if root != self.package.name:
            return []
        submodule = f"{module}.{name}".removeprefix(".")
        if name != _WHOLE and _file(self.package, submodule).is_file():
            return [(submodule, _WHOLE)]
        return [(module or "__init__", name)]


def _file(package: Path, module: str) -> Path:
    path = package.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@dataclass(frozen=True)
class _Statement:
    """A top-level statement: what it does, the names that it gives a meaning and that it uses, and
    its imports: from where, and what."""

    node: ast.stmt
    essence: str
    bound: frozenset[str]
    names: frozenset[str]
    imports: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, node: ast.stmt) -> "_Statement":
        nodes = list(ast.walk(node))
        names = frozenset(found.id for found in nodes if isinstance(found, ast.Name))
        imports: list[tuple[str, str]] = []
        for found in nodes:
            if isinstance(found, ast.Import):
                imports += [(alias.name, _WHOLE) for alias in found.names]
            elif isinstance(found, ast.ImportFrom):
                origin = "." * found.level + (found.module or "")
                imports += [(origin, alias.name) for alias in found.names]
        return cls(node, repr(_essence(node)), frozenset(_bound(node)), names, tuple(imports))


@cache
def _statements(text: str) -> tuple[_Statement, ...]:
    """The top-level statements of a source text, an import of several names as several imports."""
    single: list[ast.stmt] = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom):
            single += [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
        elif not _is_docstring(node):
            single.append(node)
    return tuple(_Statement.of(node) for node in single)


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement gives a meaning."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    found = [node for target in targets for node in ast.walk(target)]
    return {n.id for n in found if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _with_used_entries(
    statements: tuple[_Statement, ...], registry: Registry
) -> tuple[_Statement, ...]:
    """The statements of a module, its registry cut down to the entries that are used."""
    where = f"{registry.module}.{registry.name}"
    found: set[str] = set()
    cut: list[_Statement] = []
    for statement in statements:
        if registry.name in statement.bound:
            entries = _entries(statement.node, where)
            found |= entries.keys()
            used: list[ast.expr] = [entries[n] for n in sorted(registry.used) if n in entries]
            target = ast.Name(registry.name, ast.Store())
            statement = _Statement.of(ast.Assign([target], ast.Tuple(used)))
        cut.append(statement)
    if missing := sorted(set(registry.used) - found):
        raise LookupError(f"{where}: expected an entry {missing[0]!r}, found {sorted(found)}")
    return tuple(cut)


def _entries(statement: ast.stmt, where: str) -> dict[str, ast.expr]:
    """A registry's entries by their names."""
    value = getattr(statement, "value", None)
    pairs: list[tuple[ast.expr | None, ast.expr]] = []
    if isinstance(value, ast.Dict):
        pairs = list(zip(value.keys, value.values, strict=True))
    elif isinstance(value, ast.Tuple | ast.List):
        pairs = [(getattr(e, "args", [None])[0], e) for e in value.elts]
    names = [key.value for key, _ in pairs if isinstance(key, ast.Constant)]
    if not pairs or len(names) < len(pairs):
        raise LookupError(f"{where}: expected a dict, or a tuple of calls, with names written out")
    return {
        str(name): ast.Tuple([ast.Constant(name), entry])
        for name, (_, entry) in zip(names, pairs, strict=True)
    }


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
