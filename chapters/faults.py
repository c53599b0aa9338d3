# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When something breaks
#
# A number of this book is worth no more than the file that it was read from, and the files are worth
# no more than what happens to them when a disk fills up, a machine is switched off, or somebody
# edits them. So that nobody has to take this on trust, it is tried: `make faults` damages files in
# every way that we could think of, forges them, kills the programs that write them, and looks at what
# comes of it.
#
# - A result carries a digest (SHA-256) of all that it holds, values, names and attributes, which is
#   compared at every load. So does the state that an interrupted run goes on from.
# - At the end of a file stands the SHA-256 of all its bytes. Where the two differ, nothing of the file is
#   handed to the library that reads it: this campaign has found a single bit that makes that library read
#   without end.
# - A result is taken for the one that was asked for only if its settings, the digest of the code that
#   made it, its steps and its variables are those of the experiment.
# - What is damaged is set aside and computed anew, with a warning. What the system does not let us
#   read is left as it is: it may be whole.
# - A file is written at once or not at all, by one process at a time, and what a killed process
#   leaves behind is removed by the next.

# %% tags=["parameters"]
profile: str = "laptop"  # as in every chapter; nothing is computed here
results_dir: str = ""  # likewise
benchmarks_dir: str = ""  # where the benchmarks' results are; empty: those of the book

# %% tags=["hide-input"]
import json
from pathlib import Path

from IPython.display import Markdown

import srel_core as sc
from srel_core.book.text.markup import code, plain

results = Path(benchmarks_dir or Path(sc.__file__).parents[1] / "benchmarks" / "results")


def found_in(name, text_of, command):
    """The text of a benchmark's result, or what makes one."""
    path = results / f"{name}.json"
    if not path.is_file():
        return Markdown(f"No measurement is among the results: `{command}` makes one.")
    return Markdown(text_of(json.loads(path.read_text("utf8"))))


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


# %% [markdown]
# ## What was tried
#
# *Refused*: it was said, in one line, that something is wrong, and the right numbers came after it.
# *Harmless*: the right numbers came, as when the bit that was turned over lay between two values.
# *Silent*: anything else, that is other numbers without a word, a traceback, or work that was lost.

# %% tags=["hide-input"]
COUNTS = ("tried", "refused", "harmless", "silent")


def campaign(found):
    rows = [[plain(row["fault"]), *(row[name] for name in COUNTS)] for row in found["faults"]]
    rows.append(["**all**", *(f"**{found['all'][name]}**" for name in COUNTS)])
    machine, silent = found["environment"], found["all"]["silent"]
    return (
        table(["fault", *COUNTS], rows)
        + f"\n\nIn {found['seconds'] / 60:.0f} minutes on {plain(machine['device'])}, commit "
        f"{code(machine['commit'])}. "
        + ("Nothing was silent." if silent == 0 else f"**{silent} faults were silent.**")
    )


found_in("faults", campaign, "make faults")

# %% [markdown]
# ## The whole book, killed
#
# `make book` with all its processes killed and started again by the same command, three times over,
# beside one that was left alone (`benchmarks/killed_book.py`).


# %% tags=["hide-input"]
def killed(book):
    moments = ", ".join(
        f"when {plain(moment)} (after {after:.0f} s)"
        for moment, after in book["killed after seconds"].items()
    )
    differences = book["differences"]
    outcome = (
        "in nothing but times, dates and commits"
        if not differences
        else f"**in {', '.join(map(plain, differences))}**"
    )
    return (
        f"Killed {moments}. Left alone, the book took {book['seconds']} s. Of their {book['files']} files "
        f"the two books differ {outcome}. Commit {code(book['environment']['commit'])}."
    )


found_in("killed_book", killed, "python benchmarks/killed_book.py")

# %% [markdown]
# ## What it costs
#
# Seconds to save a result, to load it, and to list a folder of such results with their provenance,
# before there were digests and now (`benchmarks/file_times.py`).


# %% tags=["hide-input"]
def costs(times):
    work = {"save": "save", "load": "load", "list": f"list {times['listed']}"}
    rows = [
        [name, words, *(f"{seconds[which][what]:.3f}" for which in ("former", "present"))]
        for name, seconds in times["seconds"].items()
        for what, words in work.items()
    ]
    megabytes = {n: seconds["present"]["bytes"] / 1e6 for n, seconds in times["seconds"].items()}
    return (
        table(["a result like that of", "", "before, s", "now, s"], rows)
        + "\n\n"
        + "; ".join(f"{name}: {size:.2g} MB on disk" for name, size in megabytes.items())
        + f". The least of {times['rounds']} times each; before: commit {code(times['former'])}."
    )


found_in("file_times", costs, "python benchmarks/file_times.py")
