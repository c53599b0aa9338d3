"""A small committed result, and leave to write it although the code is being edited."""

import pytest

from srel_core.book.committed import files
from srel_core.book.committed.write import summary_of
from srel_core.experiments import provenance, result_files
from srel_core.experiments.profiles import class_experiments

COMMIT = "0123456789ab"
N_RESAMPLES = 20


@pytest.fixture(scope="module", autouse=True)
def committed_code():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: COMMIT)
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the kept runs of a small experiment, and its runs."""
    folder = tmp_path_factory.mktemp("kept")
    experiments = class_experiments("smoke", "digits", epochs=2)
    runs = [e.run(folder, "cpu", progress=False) for e in experiments]
    return folder, experiments, runs


@pytest.fixture(scope="module")
def summary(kept):
    return summary_of(kept[2], n_resamples=N_RESAMPLES)


@pytest.fixture
def file(summary, tmp_path):
    path = tmp_path / files.file_name("digits")
    result_files.save(summary, path)
    return path
