"""The Makefile, as far as it can be read, with macOS's tools: GNU make 3.81, programs of BSD."""

import re
import shutil

import pytest

from tests.support.book import ROOT, run, tool

TEXT = (ROOT / "Makefile").read_text("utf8")
# Later than 3.81, or with options that only GNU's programs have.
NEWER_MAKE = r"^\.ONESHELL|\$\(file |^(?:override )?(?:undefine|private) |^\w+ *(?:!|::)=|&:"
GNU_ONLY = (
    r"\bsed -i|\bcp -a|\breadlink -f|\bdate -d|\bgrep -\w*P|\bxargs -r|\bstat -c|\bln -\w*T"
    r"|\b(?:flock|timeout|nproc|sha256sum|tac|realpath|install -D)\b"
)


def test_it_asks_for_nothing_that_macos_lacks():
    code = re.sub(r"^#.*", "", TEXT, flags=re.MULTILINE)
    assert re.findall(f"{NEWER_MAKE}|{GNU_ONLY}", code, re.MULTILINE) == []


def test_builtins_are_called_by_a_shell():
    """Old makes run a lone word without one, and `command` is no program everywhere."""
    called = re.findall(r"\$\(shell (command [^()]*)\)", TEXT)
    assert called and all("||" in call for call in called)


@pytest.mark.parametrize("target", ["book", "pdf", "check-reproducible"])
def test_what_waits_for_the_lock_is_a_program(target):
    done = run(ROOT, "make", "--dry-run", target, "VENV=.venv", "READY=")
    recipe = done.stdout.replace("\\\n", " ")
    waiting = re.findall(r"one_at_a_time\.py _build/\.lock (\S+)", recipe)
    assert done.returncode == 0 and waiting
    assert all(shutil.which(word) for word in waiting), waiting


def test_make_and_the_tool_for_the_pdf_name_the_same_packages_of_debian():
    listed = re.search(r"^LATEX := (.*)$", TEXT, re.MULTILINE)
    assert listed and listed[1] == tool("build_pdf").PACKAGES
