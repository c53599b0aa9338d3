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
# # Verdicts
#
# What the results in this book say about each claim of {cite:t}`dan2021dynamics`, in our words. All of it
# is computed from the committed results whenever the book is built; nothing is written by hand.

# %% tags=["parameters"]
profile: str = "laptop"  # as in every chapter; the committed results are the same for all
results_dir: str = ""  # as in every chapter; here nothing is computed or kept
committed_dir: str = ""  # where the committed results are; empty: results/ of the book

# %% tags=["hide-input", "code-below"]
import re

from IPython.display import Markdown

from srel_core.book.claims.of_the_paper import claims
from srel_core.book.committed import regression_file
from srel_core.book.committed.files import load_all
from srel_core.book.figures.verdict_grid import VerdictGrid
from srel_core.book.text import result_tables
from srel_core.book.text.verdict_tables import details, other_details
from srel_core.choices import check_known
from srel_core.experiments.profiles import PROFILES

check_known("profile", profile, PROFILES)
found = claims(committed_dir or None)
shown = load_all(committed_dir or None)
regression = regression_file.load(committed_dir or None)


def typeset(text):
    """Verdicts are plain text; here their symbols and powers are formulas."""
    return re.sub(r"\b1e-0*(\d+)", r"$10^{-\1}$", text.replace("S_rel", r"$S_{\rm rel}$"))


VerdictGrid(found)

# %% [markdown]
# ## What the words mean
#
# A claim about training curves is about every epoch, and it can be read in several ways: by the
# published code or by the definition, with one step rule or another, with one aggregate or another.
#
# - A {term}`reading` **holds** on a data set if its 95 % interval lies on the claim's side at *every*
#   epoch; it is **reversed** if the interval lies on the other side at every epoch; and it **cannot be
#   told** where the interval covers both. Where epochs differ, they are named.
# - A **claim holds** if every reading holds on every data set. It **does not hold** if no
#   reading holds at any epoch and some are reversed. Otherwise it **depends**.
# - **The answer turns on** a choice: two readings that differ in this choice alone are compared epoch by
#   epoch, and we count how often their intervals lie on different sides.
# - What was **published as class-based** is not a divergence, and does not measure the size of a change
#   ({ref}`sec-kl`). It is listed for completeness.
# - For the first claim, the readings by the definition come from the study of many seeds ({ref}`sec-seeds`)
#   where there is one; everything else comes from the runs of {doc}`paper_scale`.
# - **The published curves are reproduced** where a published value lies in the interval for the mean of
#   as many other runs ({ref}`sec-published`).
# - On **regression**, one rule is applied to every setting, and the finding is how many pass it
#   ({ref}`sec-two-phases`).
# - A closed form is **right** if it agrees with numerical integration and with explicit steps, both
#   computed when this page was built.

# %% [markdown]
# ## Every number
#
# Each reading on each data set: the effect in the last epoch with its interval, as *same* over
# *other* (×), as the same-class AUC, or as the difference of two AUCs.

# %% tags=["hide-input"]
Markdown(typeset(details(found)) or "There are no results of the `paper` profile yet.")

# %% [markdown]
# The other claims are not about a data set. On regression, each combination of network, target and
# training is a case; linear models and single gates are left out, because their course is known
# beforehand.

# %% tags=["hide-input"]
Markdown(typeset(other_details(found)))

# %% [markdown]
# ## Where the results come from

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        part
        for part in (result_tables.badges(shown, regression), result_tables.missing(shown))
        if part
    )
)

# %% [markdown]
# {doc}`paper_scale` gives the settings and the provenance of each run.
