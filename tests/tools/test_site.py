"""What keeps a page or an executed notebook from being published."""

import nbformat
import pytest

from tests.support.book import call, tool

CLEAN = """<html><head><link rel="canonical" href="https://example.org/page.html">
<link rel="stylesheet" href="_static/a%20b.css?v=1"><script>const a = "a // b";</script></head>
<body><a href="https://example.org">a link</a><img src="data:image/png;base64,AA"></body></html>"""


def site(tmp_path, body="", css=""):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a b.css").write_text(css)
    (tmp_path / "index.html").write_text(CLEAN + body)
    return tmp_path


def test_a_site_that_stands_alone_passes(tmp_path):
    done = call(site(tmp_path), "check_site", ".")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("body", "css"),
    [
        ('<script src="https://cdn.example.org/x.js"></script>', ""),
        ('<script src="//cdn.example.org/x.js"></script>', ""),
        ('<link rel="preload stylesheet" href="http://cdn.example.org/x.css">', ""),
        ('<img src="https://cdn.example.org/x.png" alt="x">', ""),
        ('<iframe src="https://cdn.example.org/"></iframe>', ""),
        ('<script>const u = "https://cdn.example.org/x.js"</script>', ""),
        ("<style>@import url(https://cdn.example.org/x.css)</style>", ""),
        ("", "body { background: url('https://cdn.example.org/x.png') }"),
        ("", "@import '//cdn.example.org/x.css';"),
        ('<img src="cdn.example.org.png" alt="a missing file">', ""),
    ],
)
def test_what_comes_from_elsewhere_or_is_missing_is_named(tmp_path, body, css):
    done = call(site(tmp_path, body, css), "check_site", ".")
    assert done.returncode == 1
    assert done.stderr.startswith("check_site: error: ") and "cdn.example.org" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_without_a_site_is_an_error(tmp_path):
    done = call(tmp_path, "check_site", ".")
    assert done.returncode == 1 and "no index.html" in done.stderr


def executed(*outputs, count=1, **metadata):
    cell = nbformat.v4.new_code_cell("1 + 1", outputs=list(outputs), execution_count=count)
    cell.metadata.update(metadata)
    return nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"exception": None}})


def stderr(text):
    return nbformat.v4.new_output("stream", name="stderr", text=text)


PICTURE = nbformat.v4.new_output("display_data", {"image/png": "AA=="})
ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="a\nb", traceback=[])
NEVER = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])


@pytest.mark.parametrize(
    ("notebook", "words"),
    [
        (NEVER, "not executed by papermill"),
        (executed(count=None), "was not executed: 1 + 1"),
        (executed(ERROR), "In [1] raised ValueError: a b"),
        (executed(stderr("UserWarning: careful")), "In [1] wrote to stderr: UserWarning: careful"),
        (executed(PICTURE), "without alternative text"),
        (executed(PICTURE, mystnb={"image": {"alt": " "}}), "without alternative text"),
    ],
)
def test_a_notebook_that_must_not_be_published_is_named(notebook, words):
    (problem,) = tool("executed").problems(notebook)
    assert words in problem


def test_an_exception_that_left_no_output_is_noticed():
    notebook = executed()
    notebook.metadata.papermill.exception = True
    assert tool("executed").problems(notebook) == ["papermill recorded an exception"]


@pytest.mark.parametrize(
    "text",
    [
        "\r  0%|          | 0/3 [00:00<?, ?it/s]\r100%|███| 3/3 [00:00<00:00, 9.1it/s]\n",
        "\nlayer:  50%|█████     | 1/2 [00:00<00:00,  1.2s/step, loss=0.1]\x1b[A\n",
        "\r3step [00:01, 2.9step/s]",
        "Matplotlib is building the font cache; this may take a moment.\n",
        '/lib/pylabtools.py:158: UserWarning: Creating legend with loc="best" can be slow with '
        "large amounts of data.\n  fig.canvas.print_figure(bytes_io, **kw)\n",
    ],
)
def test_progress_bars_are_dropped(text):
    notebook = executed(stderr(text), PICTURE, mystnb={"image": {"alt": "A line"}})
    tool("executed").drop_progress(notebook)
    assert notebook.cells[0].outputs == [PICTURE]
    assert tool("executed").problems(notebook) == []


def test_a_warning_among_progress_bars_is_kept():
    notebook = executed(stderr("\r 50%|██ | 1/2 [00:00<00:00]\nRuntimeWarning: overflow\n"))
    tool("executed").drop_progress(notebook)
    assert tool("executed").problems(notebook) == [
        "In [1] wrote to stderr: RuntimeWarning: overflow"
    ]
