"""Committed results can be written here although the code is being edited."""

import pytest

from srel_core.experiments import provenance

COMMIT = "0123456789ab"


@pytest.fixture(scope="module", autouse=True)
def committed_code():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: COMMIT)
        yield
