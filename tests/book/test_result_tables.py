"""What chapters say of where results come from."""

import json

import pytest
import xarray as xr

from srel_core.book.committed import standing
from srel_core.book.published.numbers import DATASETS
from srel_core.book.text import result_tables
from srel_core.experiments.studies import STUDIES


def summary(**attributes):
    run = {
        "config": json.dumps({
            "seed": 4, "images_per_class": None, "probes_per_class": 20,
            "schedule": {"batch_size": 25, "epochs": 7},
        }),
        "commit": "abc", "device": "CPU", "threads": "2", "wall_seconds": 3725.2,
        "created": "2026-01-02T03:04:05", "torch": "2", "data_checksum": "f" * 64,
    }  # fmt: skip
    attributes = {
        "created": "2026-01-02T03:04:05", "commit": "abc", "code_digest": "old",
        "kind": "class_srel_summary",
        "runs": json.dumps([run]), **attributes,
    }  # fmt: skip
    return xr.Dataset(
        coords={"step": [1, 10], "probe_class": ["a", "b"]}, attrs=attributes
    )  # fmt: skip


@pytest.fixture(autouse=True)
def code(monkeypatch):
    monkeypatch.setattr(standing, "present_code", lambda _: "new")


def test_each_standing_has_its_badge():
    stale = result_tables.badges({"cifar10": summary()})
    assert stale.startswith("- CIFAR-10: **STALE.** Computed 2026-01-02 by commit `abc`")
    current = result_tables.badges({"svhn": summary(code_digest="new")})
    assert "with the present code" in current and "STALE" not in current
    stamp = {"verified_code_digest": "new", "verified_on": "2026-05-06T0", "verified_commit": "def"}
    verified = result_tables.badges({"svhn": summary(**stamp)})
    assert "on 2026-05-06 a part of them was recomputed" in verified and "`def`" in verified
    again = result_tables.badges({"svhn": summary(**stamp | {"verified_code_digest": "former"})})
    assert "STALE" in again


def test_a_data_set_without_results_has_its_row_and_its_command():
    found = {"cifar100": summary()}
    assert result_tables.missing(found).count("not run: data not available") == 2
    assert "srel run --profile paper --dataset svhn" in result_tables.missing(found)
    rows = result_tables.settings_table(found).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| CIFAR-10", "| CIFAR-100", "| SVHN"]
    assert len({row.count("|") for row in rows}) == 1
    assert (
        "a, b | all | 25 | 7 | 2 | 20 | 1 | 1 h 02 min (CPU, threads: 2) | not printed" in rows[1]
    )
    assert result_tables.missing(dict.fromkeys(DATASETS)) == ""


def test_every_experiment_has_its_command_and_its_time():
    regression = xr.Dataset(attrs={"wall_seconds": 90.0, "device": "CPU", "threads": "1"})
    studies = {"seeds": summary(), "networks": summary()}
    lines = result_tables.times_table({"cifar10": summary()}, studies, regression).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    rows = {row.split("`")[1]: row for row in lines[2:]}
    assert list(rows) == [
        *(f"srel run --profile paper --dataset {name}" for name in DATASETS),
        *(f"srel study {name}" for name in STUDIES),
        "srel regression",
    ]
    assert rows["srel study seeds"].endswith("| 1 | 1 h 02 min | 1 h 02 min | CPU, threads: 2 |")
    assert "not run" in rows["srel study classes"]
    assert rows["srel regression"].endswith("| 1 | 1 min 30 s | 1 min 30 s | CPU, threads: 1 |")


def test_the_provenance_of_every_run_is_shown():
    (row,) = result_tables.provenance_table({"svhn": summary()}).splitlines()[2:]
    assert row == ("| SVHN | 4 | `abc` | CPU | 2 | 1 h 02 min | 2026-01-02 | 2 | `ffffffffffff` |")
    assert [result_tables.hours(s) for s in (59.6, 3599.9, 7260)] == [
        "1 min 00 s",
        "1 h 00 min",
        "2 h 01 min",
    ]
