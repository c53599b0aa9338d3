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
# The claims of {cite:t}`dan2021dynamics`, in our words, and what the results in this book say about each.
# The tables are computed from the committed results whenever the book is built; nothing in them is
# written by hand.

# %% tags=["parameters"]
profile: str = "laptop"  # as in every chapter; the committed results are the same for all
results_dir: str = ""  # as in every chapter; here nothing is computed or kept
committed_dir: str = ""  # where the committed results are; empty: results/ of the book

# %% tags=["hide-input"]
import re

from IPython.display import Markdown

from srel_core.book.claims.of_the_paper import claims
from srel_core.book.committed import regression_file
from srel_core.book.committed.files import load_all
from srel_core.book.text import result_tables
from srel_core.book.text.verdict_tables import details, other_details, table
from srel_core.choices import check_known
from srel_core.experiments.profiles import PROFILES

check_known("profile", profile, PROFILES)
found = claims(committed_dir or None)
shown = load_all(committed_dir or None)
regression = regression_file.load(committed_dir or None)


def typeset(text):
    """Verdicts are plain text; here their symbols and powers are formulas."""
    return re.sub(r"\b1e-0*(\d+)", r"$10^{-\1}$", text.replace("S_rel", r"$S_{\rm rel}$"))


def link(claim):
    return f"{{ref}}`{claim.label}`" if claim.label else ""


Markdown(typeset(table(found, link)))

# %% [markdown]
# A claim about training curves is one about every epoch, and can be read in several ways: by the
# published code or by the definition, with one step or another, with one aggregate or another.
#
# - A **reading holds** on a data set if its 95 % interval lies on the claim's side at *every*
#   epoch, is **reversed** if at every epoch it lies on the other, and **cannot be told** where it
#   holds both; where epochs differ, they are named.
# - A **claim holds** if every reading does on every data set that was run. It **does not hold** if no
#   reading holds at any epoch and some are reversed. It **depends** if some hold and others do not.
# - What was **published as class-based** is not a divergence, and not a size of change: see
#   {ref}`sec-kl`. Its row is here for completeness.
# - That the published curves **come out again** is asked of every published value: does it lie in the
#   interval for the mean of as many other runs? ({ref}`sec-published`.)
# - On **regression** the question is put to every setting by one rule, and the count of those that
#   pass is the finding ({ref}`sec-two-phases`).
# - A closed form is **right** if it agrees with numerical integration and with explicit steps, taken
#   anew when this page was built.

# %% [markdown]
# ## Each reading, on each data set
#
# The number is the effect in the last epoch, with its interval: *same* over *other* (×), the
# same-class AUC, or the difference of two AUC.

# %% tags=["hide-input"]
Markdown(typeset(details(found)) or "There are no results of the `paper` profile yet.")

# %% [markdown]
# The other claims are not about a data set. On regression, each setting of network, target and
# training is a case; linear models and single gates, whose course is known beforehand, do not count.

# %% tags=["hide-input"]
Markdown(typeset(other_details(found)))

# %% [markdown]
# ## The results behind it

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        part
        for part in (result_tables.badges(shown, regression), result_tables.missing(shown))
        if part
    )
)

# %% [markdown]
# The settings and the provenance of each run stand in {doc}`paper_scale`.
