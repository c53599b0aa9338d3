"""Memory of spent changes: handed out again, but never while somebody may read it."""

from concurrent.futures import ThreadPoolExecutor

import torch
from hypothesis import given
from hypothesis import strategies as st

from srel_core.engine.propagation.buffers import BufferPool

LIKE = torch.zeros(1)


def _memory(array):
    return array.untyped_storage().data_ptr()


def test_a_spent_array_is_handed_out_again_for_what_fits_in_it():
    pool = BufferPool()
    spent = pool.new(LIKE, (3, 4))
    pool.release(spent.flatten())  # any view of it will do
    smaller = pool.new(LIKE, (5, 2))
    assert _memory(smaller) == _memory(spent)
    assert smaller.shape == (5, 2) and smaller.is_contiguous()
    pool.release(smaller)
    assert _memory(pool.new(LIKE, (3, 4))) == _memory(spent)  # all of it, not what was used


def test_what_fits_not_or_is_of_another_kind_is_new():
    pool = BufferPool()
    spent = pool.new(LIKE, (3, 4))
    pool.release(spent)
    assert _memory(pool.new(LIKE, (13,))) != _memory(spent)
    wide = pool.new(LIKE.double(), (1,))
    assert _memory(wide) != _memory(spent) and wide.dtype == torch.float64


def test_memory_of_another_is_left_alone():
    pool = BufferPool()
    theirs = torch.zeros(12)
    pool.release(theirs)
    assert _memory(pool.new(LIKE, (12,))) != _memory(theirs)


def test_each_thread_has_its_own():
    pool = BufferPool()
    spent = pool.new(LIKE, (12,))
    pool.release(spent)
    with ThreadPoolExecutor(1) as executor:
        theirs = executor.submit(pool.new, LIKE, (12,)).result()
    assert _memory(theirs) != _memory(spent)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=30))
def test_nothing_that_is_in_use_is_written_to_and_little_is_kept(events):
    pool, in_use = BufferPool(), []
    for number, (gives_back, size) in enumerate(events):
        if gives_back and in_use:
            array, mark = in_use.pop(size % len(in_use))
            assert (array == mark).all()
            pool.release(array)
        else:
            in_use.append((pool.new(LIKE, (size,)).fill_(number), number))
        assert len(pool.spare) <= 2
    assert all((array == mark).all() for array, mark in in_use)
