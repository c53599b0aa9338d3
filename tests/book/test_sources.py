"""The sources of results: a table to read, and the same data for tools."""

import xarray as xr

from srel_core.book.text.markup import varying
from srel_core.book.text.sources import _VARYING, KEY, Sources
from tests.support.book import tool

ATTRIBUTES = {
    "config": '{"seed": 7}', "data_source": "digits", "data_checksum": "abcdef0123456789",
    "commit": "c0ffee", "device": "a CPU", "threads": "2", "wall_seconds": 12.6,
    "created": "2026-01-02T03:04:05+00:00",
}  # fmt: skip


def test_the_tools_look_for_them_where_they_are():
    assert tool("record").KEY == KEY
    assert set(tool("record").VARYING) == _VARYING


def test_table_and_data_say_the_same():
    sources = Sources.of([xr.Dataset(attrs=ATTRIBUTES), xr.Dataset(attrs=ATTRIBUTES)])
    shown, metadata = sources._repr_mimebundle_(include=None, exclude=None)
    header, rule, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in shown["text/markdown"].split("\n")
    )
    assert len(rule) == len(header) and len(rows) == len(metadata[KEY]) == 2
    for row, data in zip(rows, metadata[KEY], strict=True):
        marked = {n: varying(v) if n in tool("record").VARYING else v for n, v in data.items()}
        assert dict(zip(header, row, strict=True)) == marked
    values = ["7", "digits", "abcdef012345", "c0ffee", "a CPU", "2", "13 s", "2026-01-02"]
    assert list(metadata[KEY][0].values()) == values


def test_no_results_make_no_table():
    assert Sources.of([]).markdown == ""
