"""The digest of the code behind a result: what changes it, and what does not."""

import ast
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.code_digest import PACKAGE, Registry, Sources, code_digest
from srel_core.experiments.networks import MODELS
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.regression import experiment as regression
from srel_core.experiments.regression.settings import regression_settings

KL = ClassExperiment(model="mlp", divergences=("kl",)).sources
LOGITS = ClassExperiment(model="resnet18", divergences=("l2_logits",)).sources
ALL = {
    "kl": KL,
    "logits": LOGITS,
    "regression": regression.SOURCES,
    **{model: ClassExperiment(model=model).sources for model in MODELS},
}


@pytest.fixture
def copy(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=ignored))


def edit(package, module, old, new):
    path = package / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} in {module}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def changed(package):
    """The sources of `ALL` whose digest in this copy is another one."""
    copied = {n: dataclasses.replace(s, package=package) for n, s in ALL.items()}
    return {n for n, sources in copied.items() if code_digest(sources) != code_digest(ALL[n])}


def add_a_divergence_and_a_network(package):
    edit(package, "divergence", "_ALL = (\n", """
def half(z: Tensor, dz: Tensor) -> Tensor:
    return 0.5 * kl(z, dz)


_ALL = (
    Divergence("half", half, half),
""")  # fmt: skip
    edit(package, "experiments/networks", '    "linear": lambda',
         '    "narrow": lambda n_classes: narrow(n_classes),\n    "linear": lambda')  # fmt: skip
    edit(package, "experiments/networks", "_BUILDERS: dict", """
def narrow(n_classes: int) -> nn.Module:
    return mlp(_IMAGE_FEATURES, (7,), n_classes)


_BUILDERS: dict""")  # fmt: skip


def test_a_new_divergence_and_a_new_network_leave_every_key(copy):
    add_a_divergence_and_a_network(copy)
    assert changed(copy) == set()
    script = """
import sys
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.profiles import PROFILES, class_experiments
from srel_core.experiments.regression.settings import regression_settings
ClassExperiment(model="narrow", divergences=("half",)).code
for profile in PROFILES:
    for e in (*class_experiments(profile), *regression_settings(profile)):
        print(e.file_name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=copy.parent, env={**os.environ, "PYTHONPATH": "."},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    profiles = ("smoke", "laptop", "paper")
    here = [e.file_name for p in profiles for e in (*class_experiments(p), *regression_settings(p))]
    assert done.stdout.split() == here


WITH_KL, CLASSES = {"kl", *MODELS}, set(ALL) - {"regression"}
EDITS = {
    "a divergence": (("divergence", "log_new.exp(), d - 1", "log_new.exp(), d + 1"), WITH_KL),
    "what it uses": (("divergence", "_SERIES_BELOW = 0.05", "_SERIES_BELOW = 0.06"), WITH_KL),
    "its limit": (("divergence", '"kl", kl, _tangent_kl', '"kl", kl, kl'), WITH_KL),
    "what finds it": (("divergence", "[DIVERGENCES[name] for name in names]", "[]"), CLASSES),
    "others": (("divergence", "return dz.abs().sum(-1)", "return dz.abs().mean(-1)"), set(MODELS)),
    "a network": (("experiments/networks", "(512, 512)", "(512, 256)"), {"kl", "mlp"}),
    "its layers": (
        ("experiments/networks", "[nn.Flatten()]", "[nn.Identity()]"),
        {"kl", "mlp", "linear", "regression"},
    ),
    "another network": (
        ("experiments/networks", "[2, 2, 2, 2]", "[2, 2, 2, 1]"),
        {"logits", *(name for name in MODELS if name.startswith("resnet18"))},
    ),
    "the training": (("experiments/training", "self.step += 1", "self.step += 2"), set(ALL)),
    "the images": (("experiments/datasets/load", "/ 255", "/ 256"), CLASSES),
    "the engine": (("engine/setup/memory", "2 * 2**30", "3 * 2**30"), CLASSES),
    "the rules": (("rules", "EPS = 1e-8", "EPS = 1e-7"), set(ALL)),
    "the problems": (
        ("experiments/regression/problems", "NOISE = 0.3", "NOISE = 0.2"),
        {"regression"},
    ),
    "provenance": (("experiments/provenance", "round(seconds, 1)", "round(seconds, 2)"), set()),
    "a message": (("choices", "the nearest is", "perhaps"), set()),
    "a comment": (("divergence", "# 1/k! from k = 2", "# from k = 2"), set()),
    "a docstring": (("experiments/networks", "The published ResNet-18", "A network"), set()),
}


@pytest.mark.parametrize(("change", "expected"), EDITS.values(), ids=EDITS.keys())
def test_an_edit_changes_the_keys_of_those_who_use_it(copy, change, expected):
    edit(copy, *change)
    assert changed(copy) == expected


def test_the_engine_counts_whole_whatever_modules_it_has(copy):
    for path in (PACKAGE / "engine").rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        defined = {
            s.name for s in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(s, "name")
        }
        assert {name for s in KL.counted()[module] for name in s.bound} >= defined, module
    (copy / "engine" / "layers" / "new.py").write_text("x = 1\n")
    assert changed(copy) == set(ALL) - {"regression"}


RUNS = {
    "class": (
        KL,
        "from srel_core.experiments.class_experiment import ClassExperiment, Schedule;"
        "ClassExperiment(model='mlp', images_per_class=12, probes_per_class=2, divergences=('kl',),"
        "schedule=Schedule(epochs=1, batch_size=12)).run(sys.argv[1], 'cpu', progress=False)",
    ),
    "regression": (
        regression.SOURCES,
        "from srel_core.experiments.regression.experiment import RegressionExperiment;"
        "RegressionExperiment(n_steps=2, n_points=2, width=3, seeds=(4, 5)).run(sys.argv[1])",
    ),
}


@pytest.mark.parametrize(("sources", "run"), RUNS.values(), ids=RUNS.keys())
def test_every_module_that_a_run_loads_counts_or_is_left_out_by_name(tmp_path, sources, run):
    script = f"import sys; {run}; print(*[m for m in sys.modules if m.startswith('srel_core')])"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    loaded = {m.removeprefix("srel_core").removeprefix(".") for m in done.stdout.split()}
    # The first two may offer names of other modules, which then count by themselves.
    without_code = {"", "experiments"} | {
        ".".join(path.parent.relative_to(PACKAGE).parts)
        for path in PACKAGE.rglob("__init__.py")
        if len(ast.parse(path.read_text(encoding="utf-8")).body) == 1
    }
    by_what_is_left_out = {"scaling"}  # would count if anything else imported it
    left_out = {m for m in loaded if any(f"{m}.".startswith(f"{o}.") for o in sources.left_out)}
    counted = sources.counted()
    assert len(counted) > 7 and loaded - without_code - left_out <= {*counted, *by_what_is_left_out}


@pytest.mark.parametrize("sources", [KL, regression.SOURCES], ids=["class", "regression"])
def test_what_is_left_out_is_there(sources):
    for name in sources.left_out:
        path = PACKAGE.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


@pytest.fixture
def write(tmp_path):
    """Write the modules of a small package and get the digest of what its `start` depends on."""

    def write(registries=(), left_out=(), **modules):
        folder = tmp_path / "small"
        folder.mkdir(exist_ok=True)
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        code_digest.cache_clear()
        return code_digest(
            Sources("start", left_out=left_out, registries=registries, package=folder)
        )

    yield write
    code_digest.cache_clear()


def test_the_digest_sees_what_code_does_and_nothing_else(write):
    plain = write(start="def f(x):\n    return x + 1\n")
    same = '"""New."""\n\n\ndef f(x):  # same\n    """Does."""\n    return (x + 1)\n'
    assert write(start=same) == plain
    assert write(start="def f(x):\n    return x + 2\n") != plain
    assert write(start="def f(x, y=None):\n    return x + 1\n") != plain


@pytest.mark.parametrize(
    "imported",
    [
        "import small.other",
        "from small import other",
        "from small.other import f",
        "from small.other import *",
        "def g():\n    from small.other import f\n",
        "from small import lazy",
    ],
)
def test_imports_are_followed_wherever_they_stand(write, imported):
    init = "def __getattr__(name):\n    from small import other\n    return other\n"
    before = write(start=imported, other="from small.deep import x\n", deep="x = 1\n",
                   __init__=init)  # fmt: skip
    assert write(deep="x = 2\n") != before
    left_out = write(left_out=("other",))
    assert write(left_out=("other",), deep="x = 1\n", other="") == left_out


def registered(*used):
    return (Registry("table", "ALL", used),)


TABLE = "def a():\n    return 1\n\n\ndef b():\n    return 2\n\n\nALL = {'a': a, 'b': b}\n"


def test_what_acts_on_a_module_without_a_name_always_counts(write):
    start = "from small.table import ALL\n"
    before = write(registered("a"), start=start, table=TABLE)
    assert write(registered("a"), table=TABLE.replace("return 2", "return 3")) == before
    filled = TABLE + "for name in ('c', 'd'):\n    ALL[name] = len\n"
    assert write(registered("a"), table=filled) != before
    assert write(registered("a"), table=TABLE + "ALL |= {'c': b}\n") != before


def test_a_module_with_a_registry_may_be_imported_as_one(write):
    before = write(registered("a"), start="from small import table\n", table=TABLE)
    assert write(registered("a"), table=TABLE.replace("return 2", "return 3")) != before
    longer = TABLE.replace("'b': b", "'c': a, 'b': b")
    assert write(registered("a"), table=longer) == before


@pytest.mark.parametrize(
    ("table", "used", "message"),
    [
        (TABLE, "c", r"table.ALL: expected an entry 'c', found \['a', 'b'\]"),
        ("", "a", r"table.ALL: expected an entry 'a', found \[\]"),
        ("ALL = dict(a=1)\n", "a", "table.ALL: expected a dict, or a tuple of calls"),
        ("ALL = {name: 1 for name in 'ab'}\n", "a", "table.ALL: expected a dict"),
        ("ALL = (f(x), f('a'))\n", "a", "table.ALL: expected a dict"),
        ("from . import start\nALL = {'a': 1}\n", "a", "table: expected imports by full names"),
    ],
)
def test_a_registry_that_cannot_be_read_is_an_error(write, table, used, message):
    with pytest.raises(LookupError, match=message):
        write(registered(used), start="from small.table import *\n", table=table)


def test_a_package_that_is_not_there_is_an_error():
    with pytest.raises(LookupError, match="expected a package motor, found no module in"):
        code_digest(dataclasses.replace(KL, packages=("motor",)))
