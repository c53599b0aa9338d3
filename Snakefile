# Experiments -> executed chapters -> HTML pages. `make book` makes the pages, and on the way what
# results they lack; `make pdf` makes a PDF of the same chapters; `make sweep` makes the results
# alone, here or on a cluster (sweep.smk).
import json
import sys
from pathlib import Path

sys.path.insert(0, "tools")
import gpu
from depends import Library
from toc import sources

PROFILE = config.get("profile", "laptop")
PYTHON = sys.executable
NOTEBOOKS, PAGES = sources(Path.cwd())
LIBRARY = Library(Path())
BUILD = config.get("build", "_build")
EXECUTED = f"{BUILD}/executed/{PROFILE}"
BOOK = f"{BUILD}/book/{PROFILE}"
PDF = f"{BUILD}/pdf/{PROFILE}"


def files(*patterns):
    return sorted(str(path) for pattern in patterns for path in Path().glob(pattern))


def tools(*names):
    return [f"tools/{name}.py" for name in names]


# Seconds that the chapters take, by profile and name.
TYPICAL = Path("tools/plugins/snakemake_logger_plugin_progress/typical.json")
SECONDS = json.loads(TYPICAL.read_text(encoding="utf8"))["seconds"]


def threads_of_chapter(_):
    """So few that two or more are executed at a time, as much of each is done by one thread. But one
    at a time on a GPU, whose memory each would take for its own."""
    return workflow.cores if gpu.has_driver() else min(4, max(1, workflow.cores // 2))


# What the pages are made of, on paper as on screen.
CONTENT = {
    "executed": [f"{EXECUTED}/{path.relative_to('chapters')}" for path in NOTEBOOKS],
    "pages": list(map(str, PAGES)),
    "settings": ["_config.yml", "_toc.yml", "references.bib", "pyproject.toml", *files("*.cff")],
    "static": files("_static/**/*.*"),
    "library": files("srel_core/**/*.py"),  # the reference is made of its docstrings
    "tools": files("tools/*.py"),
}


rule book:
    input:
        **CONTENT,
    output:
        f"{BOOK}/_build/html/index.html",
    shell:
        "{PYTHON:q} tools/build_book.py {EXECUTED} {BOOK}"


rule pdf:
    input:
        **CONTENT,
    output:
        f"{PDF}/book.pdf",
    shell:
        "{PYTHON:q} tools/build_pdf.py {EXECUTED} {PDF}"


# A chapter asks srel_core for its results: those that are there are loaded, the others computed.
# An edit of what it does not import leaves it as it is.
rule chapter:
    input:
        notebook="chapters/{name}.ipynb",
        library=lambda chapter: LIBRARY.imported_by(Path(f"chapters/{chapter.name}.ipynb")),
        results=files("results/**/*.nc", "benchmarks/results/**/*.json"),
        tools=tools("executed", "gpu", "parameters", "pictures", "record", "run_chapter"),
    output:
        BUILD + "/executed/{profile}/{name}.ipynb",
    wildcard_constraints:
        profile="[^/]+",
    threads: threads_of_chapter
    # The longest first, so that none of them is left alone at the end.
    priority: lambda chapter: SECONDS.get(f"{chapter.profile}/{chapter.name}", 0)
    shell:
        "{PYTHON:q} tools/run_chapter.py {input.notebook} {output} -p profile {wildcards.profile}"


include: "sweep.smk"
