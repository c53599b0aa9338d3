"""Which results a chapter shows: a table to read, and the same as data for the book's tools."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srel_core.book.text.markup import plain, varying
from srel_core.experiments.terminal import plain as printable

if TYPE_CHECKING:
    import xarray as xr

KEY = "srel_core"
"""Under which the metadata of a notebook's output hold the rows."""

_VARYING = {"commit", "threads", "run time", "computed"}


@dataclass(frozen=True)
class Sources:
    """Where results of `ClassExperiment.run` come from, one row each; a notebook shows the table.

    rows   seed, data, checksum of the data, commit, device, threads, run time, date
    """

    rows: tuple[dict[str, str], ...]

    @classmethod
    def of(cls, results: "Iterable[xr.Dataset]") -> "Sources":
        rows = (_row(result.attrs) for result in results)
        return cls(tuple({name: printable(value) for name, value in row.items()} for row in rows))

    @property
    def markdown(self) -> str:
        """The table; no results make no table."""
        cells = [
            [varying(plain(v)) if name in _VARYING else plain(v) for name, v in row.items()]
            for row in self.rows
        ]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        if lines:
            lines[:0] = [f"| {' | '.join(self.rows[0])} |", "|---" * len(self.rows[0]) + "|"]
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        return {"text/markdown": self.markdown}, {KEY: list(self.rows)}


def _row(attributes: dict[str, Any]) -> dict[str, str]:
    return {
        "seed": str(json.loads(attributes["config"])["seed"]),
        "data": attributes["data_source"],
        "data checksum": attributes["data_checksum"][:12],
        "commit": attributes["commit"],
        "device": attributes["device"],
        "threads": attributes["threads"],
        "run time": f"{float(attributes['wall_seconds']):.0f} s",
        "computed": attributes["created"][:10],
    }
