"""Every benchmark takes a folder for its result, and refuses one it cannot write to at once."""

import json
import subprocess
import sys

import pytest

from srel_core.results import ResultError
from tests.book import ROOT

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.fixture(scope="module")
def writing():
    sys.path.append(str(ROOT / "benchmarks"))
    import _results

    yield _results
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py"]
    done = subprocess.run(
        [*command, "--write-to", tmp_path / "file"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and not done.stdout
    assert "--write-to: cannot write" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_result_is_written_whole_or_not_at_all(writing, tmp_path):
    folder = tmp_path / "new" / "machine"
    options = writing.parser("What it does.\n\nMore.").parse_args(["--write-to", str(folder)])
    writing.save(options.write_to, "times", {"größe": 1.5})
    assert json.loads((folder / "times.json").read_text(encoding="utf-8")) == {"größe": 1.5}
    with pytest.raises(TypeError):
        writing.save(folder, "times", {"not JSON": object()})
    (folder / "other.json").mkdir()
    with pytest.raises(ResultError, match=r"cannot write other\.json"):
        writing.save(folder, "other", {})
    assert sorted(path.name for path in folder.iterdir()) == ["other.json", "times.json"]
    assert json.loads((folder / "times.json").read_text(encoding="utf-8")) == {"größe": 1.5}


def test_results_go_to_the_book_unless_told_otherwise(writing):
    assert (
        writing.parser("What it does.").parse_args([]).write_to == ROOT / "benchmarks" / "results"
    )
