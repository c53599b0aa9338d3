"""Reading parameters: the annotation in the chapter decides what a value may be."""

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.book import tool

parameters = tool("parameters")
declared, read, ParameterError = parameters.declared, parameters.read, parameters.ParameterError

VALUES = {
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "list[int]": st.lists(st.integers()),
    "list[str]": st.lists(st.text()),
    "list[list[float]]": st.lists(st.lists(st.floats(-1, 1))),
    "int | None": st.none() | st.integers(),
}


def notebook(*sources, tags=("parameters",)):
    cells = [nbformat.v4.new_code_cell(text, metadata={"tags": list(tags)}) for text in sources]
    return nbformat.v4.new_notebook(cells=cells)


@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_a_value_of_the_declared_type_is_read_as_written(data, annotation):
    value = data.draw(VALUES[annotation])
    result = read(notebook(f"p: {annotation} = None"), [("p", repr(value))])["p"]
    assert result == value and type(result) is type(value)


@given(st.text())
def test_any_text_is_a_str(text):
    assert read(notebook("p: str = ''"), [("p", text)]) == {"p": text}


def test_an_int_serves_as_a_float():
    result = read(notebook("p: float = 0.1\nq: list[float] = []"), [("p", "2"), ("q", "[1, 2.5]")])
    assert result == {"p": 2.0, "q": [1.0, 2.5]} and type(result["p"]) is float


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("int", "2.0"), ("int", "True"), ("int", "1e3"), ("int", ""), ("int", "os"),
        ("float", "fast"), ("float", "True"), ("bool", "1"), ("bool", "yes"),
        ("list[int]", "3"), ("list[int]", "[1, 'a']"), ("list[int]", "(1, 2)"),
        ("list[int]", "[True]"), ("int | None", "1.5"), ("list[str]", "[a, b]"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_names_the_parameter_the_type_and_the_value(annotation, text):
    with pytest.raises(ParameterError) as caught:
        read(notebook(f"param: {annotation} = 7"), [("param", text)])
    message = str(caught.value)
    assert "'param'" in message and annotation in message and repr(text) in message
    assert '-p param "7"' in message


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ((), "expected one cell tagged 'parameters', found 0"),
        (("a: int = 1", "b: int = 2"), "found 2"),
        (("a = 1",), "`a = 1`"),
        (("a: int",), "`a: int`"),
        (("import os",), "`import os`"),
        (("a: int = = 1",), "not valid Python"),
        (("a: dict = {}",), "'a' is declared as dict"),
        (("a: list = []",), "'a' is declared as list"),
        (("a: Path = 1",), "'a' is declared as Path"),
        (("a: 3 = 1",), "'a' is declared as 3"),
    ],
)
def test_a_parameters_cell_that_cannot_be_checked_is_refused(cells, words):
    with pytest.raises(ParameterError) as caught:
        declared(notebook(*cells))
    assert words in str(caught.value)
