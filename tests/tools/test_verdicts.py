"""README and map say what the committed results give."""

import pytest

from tests.support.book import ROOT, call, tool


def test_the_readme_and_the_map_say_what_the_results_give():
    done = call(ROOT, "verdicts", "check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def written(tmp_path):
    """A book with former verdicts, and no results."""
    keep = tool("verdicts")
    (tmp_path / "_toc.yml").write_text("")
    (tmp_path / "README.md").write_text(f"a\n{keep.START}\nformer table\n{keep.END}\nb\n")
    (tmp_path / "chapters").mkdir()
    (tmp_path / keep.MAP).write_text(
        "# Map\n\n| x | <!-- verdict: sec-sharper --> former words |\n"
        "| y | <!-- verdict: sec-flows-claim / ridge -->|\n| z | |\n"
    )
    return tmp_path


def test_the_readme_table_is_written_between_its_marks(written):
    keep = tool("verdicts")
    assert "README.md does not say what" in call(written, "verdicts", "check").stderr
    assert call(written, "verdicts", "write").returncode == 0
    text = (written / "README.md").read_text()
    assert text.startswith(f"a\n{keep.START}\n\n| | Claim |") and text.endswith(f"{keep.END}\nb\n")
    assert "former table" not in text and "not examined" in text
    assert call(written, "verdicts", "check").returncode == 0
    with pytest.raises(ValueError, match="once each"):
        keep.with_table("no marks", [])


def test_the_map_has_the_verdict_after_each_mark(written):
    place = written / "chapters/paper_map.md"
    assert call(written, "verdicts", "write").returncode == 0
    assert place.read_text() == (
        "# Map\n\n| x | <!-- verdict: sec-sharper --> **not examined** |\n"
        "| y | <!-- verdict: sec-flows-claim / ridge --> **holds** |\n| z | |\n"
    )
    place.write_text(place.read_text().replace("**holds**", "**depends**"))
    done = call(written, "verdicts", "check")
    assert done.returncode == 1 and "paper_map.md does not say what" in done.stderr
    for label, message in [
        ("sec-sharpr", "unknown label 'sec-sharpr': the nearest is 'sec-sharper'"),
        ("sec-flows-claim / edge", "unknown reading 'edge': the nearest is 'ridge'"),
    ]:
        place.write_text(f"| <!-- verdict: {label} --> |")
        done = call(written, "verdicts", "write")
        assert done.returncode == 1 and message in done.stderr
    place.write_text("no marks")
    assert "must hold a mark" in call(written, "verdicts", "check").stderr
