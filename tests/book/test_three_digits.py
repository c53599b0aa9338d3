"""Packed numbers are the given ones to three digits."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.book.figures.three_digits import pack

POSITIVE = st.floats(1e-40, 9.99e30) | st.floats(0.99, 10.01)


def unpacked(packed):
    """As the docstring of `Packed` says."""
    codes = np.frombuffer(base64.b64decode(packed["codes"]), "<u2").tolist()
    found = []
    for code in codes:
        k, m = divmod(code - 2, 900)
        found.append(
            [np.nan, 0.0][code] if code < 2 else float(f"{100 + m}e{packed['lowest'] + k}")
        )
    return found


@given(st.lists(POSITIVE | st.just(0.0) | st.just(np.nan)))
def test_three_digits_of_each_number_come_back(values):
    np.testing.assert_array_equal(unpacked(pack(values)), [float(f"{v:.2e}") for v in values])


def test_an_array_is_packed_row_by_row():
    assert unpacked(pack([[1, 2], [30, 0.004]])) == [1, 2, 30, 0.004]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([-1.0], "finite and not negative"),
        ([np.inf], "finite and not negative"),
        ([1e-50, 1e30], "within 72 decades, not from 1e-50 to 1e"),
    ],
)
def test_what_cannot_be_packed_is_an_error_of_one_line(values, message):
    with pytest.raises(ValueError, match=message) as error:
        pack(values)
    assert "\n" not in str(error.value)
