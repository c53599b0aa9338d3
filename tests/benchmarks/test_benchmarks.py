"""Every benchmark takes a folder for its result, and refuses one it cannot write to at once."""

import json
import math
import os
import re
import runpy
import subprocess
import sys

import pytest

from srel_core.experiments import provenance
from tests.support.book import ROOT

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    sys.path.append(str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def writing():
    import _results

    return _results


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(
    name, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--write-to", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out
    assert "--write-to: cannot write" in said.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_result_goes_where_it_was_told_to(name):
    text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    assert re.findall(r"save\(options\.write_to, ([\w\"]+),", text) in ([f'"{name}"'], ["NAME"])
    assert "write_text" not in text.replace('Path("/proc/self/clear_refs").write_text("5")', "")


def test_the_precision_of_runs_is_written_to_the_folder(writing, tmp_path, monkeypatch):
    import paper_precision

    monkeypatch.setattr(paper_precision, "kept_runs", lambda *_: [])
    monkeypatch.setattr(paper_precision, "precision", lambda _: {"runs": 3})
    monkeypatch.setattr(sys, "argv", ["paper_precision.py", "--write-to", str(tmp_path / "new")])
    paper_precision.main()
    written = json.loads((tmp_path / "new" / "paper_precision.json").read_text())
    assert written["cifar10"] == {"runs": 3}


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5"])
def test_numbers_of_repeats_are_positive(wrong):
    command = [sys.executable, ROOT / "benchmarks" / "dense_networks.py", "--rounds", wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "expected a whole number of at least 1" in done.stderr.splitlines()[-1]


def test_a_process_that_is_killed_ends_the_benchmark_with_a_line(monkeypatch):
    from _processes import in_fresh_process

    monkeypatch.setattr(sys, "argv", ["benchmarks/some_speed.py"])
    assert in_fresh_process(math.hypot, 3, 4, start="spawn") == 5
    with pytest.raises(SystemExit, match=r"^some_speed: error: its process .* was killed"):
        in_fresh_process(os._exit, 1, start="spawn")
    with pytest.raises(ZeroDivisionError):
        in_fresh_process(divmod, 1, 0, start="spawn")


def test_a_result_is_written_whole_or_not_at_all(writing, tmp_path):
    folder = tmp_path / "new" / "machine"
    options = writing.parser("What it does.\n\nMore.").parse_args(["--write-to", str(folder)])
    writing.save(options.write_to, "times", {"größe": 1.5})
    assert json.loads((folder / "times.json").read_text(encoding="utf-8")) == {"größe": 1.5}
    with pytest.raises(TypeError):
        writing.save(folder, "times", {"not JSON": object()})
    (folder / "other.json").mkdir()
    with pytest.raises(SystemExit, match=r"^other: error: cannot write other\.json"):
        writing.save(folder, "other", {})
    assert sorted(path.name for path in folder.iterdir()) == ["other.json", "times.json"]
    assert json.loads((folder / "times.json").read_text(encoding="utf-8")) == {"größe": 1.5}


def test_results_go_to_the_book_unless_told_otherwise(writing, tmp_path, monkeypatch):
    assert writing.HERE == ROOT / "benchmarks" / "results"
    monkeypatch.setattr(writing, "HERE", tmp_path / "book")
    assert writing.parser("What it does.").parse_args([]).write_to == tmp_path / "book"


def test_a_commit_is_marked_if_the_package_or_a_benchmark_was_edited(tmp_path, monkeypatch):
    files = [tmp_path / name for name in ("srel_core/a.py", "benchmarks/b.py", "benchmarks/r.json")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("old")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "srel-core"\n')
    as_someone = ["-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (["init", "-q"], ["add", "."], [*as_someone, "commit", "-qm", "m"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "_HERE", tmp_path / "srel_core")
    for file, changes in zip(files, (True, True, False), strict=True):
        assert re.fullmatch("[0-9a-f]{12}", provenance.commit())
        file.write_text("new")
        assert provenance.commit().endswith("+changes") == changes
        file.write_text("old")
