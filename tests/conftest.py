"""One thread a process: the tests' tensors are small, and equal seeds must give equal bits."""

import fcntl
import signal
import threading

import pytest
import torch
from hypothesis import settings

from tests.support.book import ROOT, program

torch.set_num_threads(1)
settings.register_profile("srel", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("srel")
# A shell that runs the tests in the background has interruptions ignored, and so by every program
# that they start: those that are interrupted here must not be.
on_main = threading.current_thread() is threading.main_thread()
if on_main and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """One process makes the pages, with the first file of those that look at them, while the others
    run what takes long beside; then come the other files that look at them."""
    of_pages = [item.path for item in items if "site" in item.fixturenames]

    def place(item):
        if "site" in item.fixturenames:
            return 0 if item.path == of_pages[0] else 2
        return 1 if {"engine", "experiments"} & {*item.path.parts} else 3

    items.sort(key=place)


@pytest.fixture
def untouched_global_rng():
    """Fails the test if the global generators have moved by its end."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.fixture(scope="session")
def site():
    """The folder of this book's pages in the smoke profile: what has changed is made anew, by one
    process of pytest-xdist while the others wait."""
    (ROOT / "_build").mkdir(exist_ok=True)
    with (ROOT / "_build/.site-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = program(
            ROOT, "snakemake", "--cores", "all", "--set-threads", "chapter=1", "--nolock",
            "--rerun-incomplete", "--quiet", "all", "--config", "profile=smoke",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "_build/book/smoke/_build/html"


@pytest.fixture(scope="session")
def executed(site):
    """The folder of the chapters that the pages were made from."""
    return ROOT / "_build/executed/smoke"
