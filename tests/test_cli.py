"""`srel` as its users call it: what it prints, and the exit codes that scripts rely on."""

import os
import pwd
import signal
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import h5py
import pytest

import srel_core
from srel_core.cli import main
from srel_core.experiments import netcdf, result_files
from tests.support.book import ROOT
from tests.support.forgeries import altered
from tests.support.results import small_result

SMALL = [
    "run", "--model", "linear", "--images-per-class", "12", "--probes-per-class", "2",
    "--epochs", "1", "--batch-size", "12", "--seeds", "0,1", "--divergences", "kl",
    "--device", "cpu", "--quiet",
]  # fmt: skip


@dataclass
class Done:
    exit_code: int
    stdout: str
    stderr: str


def srel(*arguments):
    out, err = StringIO(), StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
        pytest.raises(SystemExit) as caught,
    ):
        main([str(argument) for argument in arguments])
    return Done(caught.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    done = srel(*SMALL, "--results-dir", folder)
    assert done.exit_code == 0, done.stderr
    return folder, done.stdout.split()


def test_run_prints_where_each_result_is(computed):
    folder, printed = computed
    assert len(printed) == 2
    for path in printed:
        assert result_files.load(folder / path).sizes["step"] == 1


def test_list_names_data_seed_and_provenance(computed):
    folder, _ = computed
    done = srel("list", "--results-dir", folder)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and len(lines) == 2
    assert all("digits  linear  seed" in line and "commit" in line for line in lines)


def test_list_names_what_a_regression_was_about(tmp_path):
    from srel_core.experiments.regression.experiment import RegressionExperiment

    RegressionExperiment(n_steps=2, n_points=2, width=3, seeds=(4, 5)).run(tmp_path)
    assert "mlp  teacher  seed [4, 5]  commit" in srel("list", "--results-dir", tmp_path).stdout


def test_check_tells_whole_from_damaged(computed, tmp_path):
    _, printed = computed
    done = srel("check", printed[0])
    assert done.exit_code == 0 and "whole (" in done.stdout and "data_checksum:" in done.stdout
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(b"CDF")
    done = srel("check", damaged)
    assert done.exit_code == 1 and "is damaged or not NetCDF" in done.stderr
    assert "if it was a result, remove it" in done.stderr  # it may be somebody's file
    assert "UNREADABLE" in srel("list", "--results-dir", tmp_path).stdout
    assert srel("check", tmp_path / "absent.nc").exit_code == 1


def test_one_bad_file_does_not_end_the_list(tmp_path):
    result_files.save(small_result(), tmp_path / "a.nc")
    odd = {"config": "[" * 20000, "commit": "\x1b[2J\nb.nc  forged", "device": "\u202e"}
    result_files.save(small_result().assign_attrs(odd), tmp_path / "b.nc")
    result_files.save(small_result(), tmp_path / "c.nc")
    with h5py.File(tmp_path / "c.nc", "r+") as file:
        file.attrs["commit"] = [1, 2]
    (tmp_path / "d.nc").write_text("junk")
    os.mkfifo(tmp_path / "e.nc")
    (tmp_path / "f.nc").mkdir()
    (tmp_path / "g.nc").symlink_to("/proc/self/mem")
    (tmp_path / "h.nc").symlink_to("nowhere")
    done = srel("list", "--results-dir", tmp_path)
    assert done.exit_code == 0 and all(line.isprintable() for line in done.stdout.splitlines())
    assert [line[:6] + line.split("  ")[1] for line in done.stdout.splitlines()] == [
        "a.nc  digits", "b.nc  small", *(f"{name}.nc  UNREADABLE" for name in "cdefgh"),
    ]  # fmt: skip
    assert r"commit \x1b[2J\nb.nc  forged  \u202e" in done.stdout


def test_list_reads_no_more_than_the_headers(tmp_path):
    path = tmp_path / "bomb.nc"
    result_files.save(small_result(), path)
    size = {"shape": (300_000_000,), "chunks": (100_000,), "compression": "gzip"}
    altered(path, lambda file: file.create_dataset("bomb", dtype="f8", **size))
    assert path.stat().st_size < 100_000
    script = (
        "from srel_core.cli import main\ntry: main()\n"
        "finally: print(*[line for line in open('/proc/self/status') if 'VmHWM' in line])"
    )
    done = program(script, "list", "--results-dir", tmp_path)
    line, peak = done.stdout.split("\n", 1)
    assert line.startswith("bomb.nc  digits  mlp  seed 0") and int(peak.split()[1]) < 200_000  # kB
    done = program(MAIN, "check", path)
    assert done.returncode == 1 and "bytes cannot hold the 2.4e+09 bytes" in done.stderr


def test_check_says_whether_anything_vouches_for_the_content(tmp_path):
    path = tmp_path / "small.nc"
    odd = small_result().assign_attrs(commit="\x1b[31m\n")
    result_files.save(odd, path)
    done = srel("check", path)
    assert "small.nc: whole (step 3, rule 2), as its digest says" in done.stdout
    assert r"  commit: \x1b[31m\n" in done.stdout.splitlines()
    path.write_bytes(netcdf.encode(small_result()).getvalue())
    assert "but without a digest, so that nothing vouches" in srel("check", path).stdout


MAIN = "from srel_core.cli import main; main()"


def program(script, *arguments, **settings):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.run(command, text=True, timeout=120, **settings)


@pytest.mark.parametrize("arguments", [["--help"], ["env"], ["list", "--results-dir", "results"]])
def test_an_output_that_cannot_be_written_gets_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = program(MAIN, *arguments, stdout=full, cwd=ROOT)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "error: the output cannot be written: No space left on device" in done.stderr
        assert program(MAIN, "bad", stdout=full, stderr=full).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--results-dir", "a" * 300], f"srel: error: {'a' * 300}: File name too long"),
        (["check", "a" * 300], "File name too long"),
        (["list", "--results-dir", "pyproject.toml"], "pyproject.toml: Not a directory"),
        (["run", "--profile", "smoke", "--results-dir", "a" * 300], "File name too long"),
        (["check", "srel_core"], "srel_core is not a file"),
    ],
)
def test_paths_that_cannot_be_get_one_line(arguments, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = srel(*arguments)
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and said in done.stderr


def test_without_memory_there_is_one_line():
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (400 << 20, -1)); {MAIN}"
    done = program(limited, "env")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "srel: error: not enough memory (" in done.stderr


def test_a_user_without_a_home_is_told_what_to_set(tmp_path):
    ids = {entry.pw_uid for entry in pwd.getpwall()}
    nobody = next(uid for uid in range(54321, 60000) if uid not in ids)
    homeless = f"import os; os.getuid = lambda: {nobody}; {MAIN}"
    environment = {n: v for n, v in os.environ.items() if n[:4] not in ("HOME", "SREL", "XDG_")}
    done = program(homeless, "list", env=environment | {"PYTHONPATH": str(ROOT)}, cwd="/")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "no place for results" in done.stderr and "--results-dir or SREL_RESULTS" in done.stderr


def test_an_interruption_while_libraries_are_loaded_gets_one_line(tmp_path):
    command = [sys.executable, "-c", MAIN, "env"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while "torch" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130 and said.strip().count("\n") == 0
    assert "srel: error: interrupted" in said


INTERRUPTED_BY_AN_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.{signal})
sys.meta_path.insert(0, Finder())
from srel_core.__main__ import main
main()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "name", ["srel_core.cli", "click", "click.core", "torch", "numpy._core._multiarray_umath"]
)
def test_an_interruption_by_any_import_gets_one_line(name, number):
    done = program(INTERRUPTED_BY_AN_IMPORT.format(name=name, signal=number), "env")
    assert done.returncode == 130 and done.stderr.strip().count("\n") == 0, done.stderr
    assert done.stderr.strip().startswith("srel: error: interrupted; ")


def test_interruptions_while_one_is_dealt_with_add_nothing(tmp_path):
    again = """
import os, signal
from srel_core.cli import common
def say(message):
    os.kill(os.getpid(), signal.SIGINT)
common.say = say
def call(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
common.srel.main = call
from srel_core.__main__ import main
main()
"""
    done = program(again)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_in_the_background_of_a_shell_interruptions_are_not_heard():
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    interrupted = INTERRUPTED_BY_AN_IMPORT.format(name="torch", signal="SIGINT")
    done = program(ignoring + interrupted.strip(), "env")
    assert done.returncode == 0 and "torch: " in done.stdout and not done.stderr


def test_what_is_nobodys_fault_but_ours_is_not_hidden(monkeypatch):
    def broken(*_, **__):
        raise AttributeError("ours")

    monkeypatch.setattr("srel_core.experiments.provenance.environment", broken)
    with pytest.raises(AttributeError, match="ours"):
        main(["env"])


def test_env_and_version():
    assert "torch: " in srel("env").stdout
    assert srel_core.__version__ in srel("--version").stdout


def test_ratios_that_are_undefined_are_counted_by_rule(tmp_path):
    rules = ["--rules", "sgd:1e-300,sgd:1e-4", "--divergences", "kl,l2_logits"]
    for _ in ("computed", "loaded"):
        done = srel(*SMALL, *rules, "--results-dir", tmp_path)
        assert done.exit_code == 0
        lines = done.stderr.splitlines()
        # 1 step × 2 divergences × 6 probes × 6 samples; of them only KL, a square, underflows
        assert [line.partition(": the step")[0] for line in lines] == [
            f"srel: warning: seed {seed}, rule sgd:1e-300: 36 of 72 ratios S_rel are undefined"
            for seed in (0, 1)
        ]
    result = result_files.load(tmp_path / done.stdout.splitlines()[0])
    assert (result.own.sel(rule="sgd:1e-4") > 0).all()


@pytest.mark.parametrize("command", [[], ["run"], ["list"], ["check"], ["env"]])
def test_help_teaches(command):
    done = srel(*command, "--help")
    assert done.exit_code == 0 and "Usage:" in done.stdout


BAD = {
    "profile": (["--profile", "latpop"], 2, "unknown profile 'latpop': the nearest is 'laptop'"),
    "dataset": (["--dataset", "cifar11"], 2, "the nearest is 'cifar10'"),
    "classes": (["--classes", "0,twelve"], 2, "unknown class 'twelve'"),
    "rule": (["--rules", "sdg:1"], 2, "unknown rule 'sdg': the nearest is 'sgd'"),
    "divergence": (["--divergences", "klx"], 2, "unknown divergence 'klx'"),
    "no seeds": (["--seeds", ""], 2, "expected whole numbers such as 0,1,2, not ''"),
    "no rules": (["--rules", ""], 2, "expected names such as a,b,c, not ''"),
    "a seed below zero": (["--seeds", "0,-1"], 2, "numbers such as 0,1,2, not '0,-1'"),
    "a number below zero": (["--batch-size", "-5"], 2, "at least 1, not -5"),
    "a rate below zero": (["--rules", "sgd:-1e-4"], 2, "positive, finite number, not -0.0001"),
    "seeds": (["--seeds", "one"], 2, "expected whole numbers such as 0,1,2, not 'one'"),
    "option": (["--epoch", "3"], 2, "--epochs"),
    "epochs": (["--epochs", "0"], 2, "epochs must be a whole number of at least 1, not 0"),
    "device": (["--device", "quantum"], 2, "device 'quantum' is not to be had here"),
    "probes": (["--probes-per-class", "500"], 2, "500 asked"),
    "folder": (["--dataset", "folder:nowhere"], 2, "found no such folder"),
    "results": (["--results-dir", "/dev/null/results"], 1, "cannot write"),
}


@pytest.mark.parametrize(("extra", "code", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_line_and_a_code(tmp_path, extra, code, message):
    done = srel(*SMALL, "--results-dir", tmp_path, *extra)
    assert done.exit_code == code
    assert message in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
    assert not list(tmp_path.iterdir())


def test_an_interruption_says_how_to_go_on(monkeypatch, tmp_path):
    def interrupted(self, *_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("srel_core.experiments.class_experiment.ClassExperiment.run", interrupted)
    done = srel(*SMALL, "--results-dir", tmp_path)
    assert done.exit_code == 130 and "goes on from the last saved checkpoint" in done.stderr


def test_importing_the_library_loads_no_heavy_package():
    """`import srel_core` is to cost little more than `import torch`."""
    import subprocess
    import sys

    heavy = ["xarray", "scipy", "sklearn", "matplotlib", "torchvision", "h5py", "pandas"]
    script = (
        "import sys, torch; before = set(sys.modules); import srel_core; "
        f"print(*(m for m in {heavy} if m in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == []
