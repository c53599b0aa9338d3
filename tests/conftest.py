"""One thread a process: the tests' tensors are small, and equal seeds must give equal bits."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("srel", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("srel")


@pytest.fixture
def untouched_global_rng():
    """Fails the test if the global generators have moved by its end."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before)
