"""The RO-Crate of the committed results: whole, and as the files say of themselves."""

import hashlib
import json
import shutil

import pytest
from rocrate.rocrate import ROCrate

from srel_core.experiments import netcdf, result_files
from srel_core.experiments.result_files import attributes
from tests.support.book import ROOT, call, tool

RESULTS = sorted((ROOT / "results").glob("*.nc"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "crate"
    done = call(ROOT, "results_crate", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def crate(folder):
    return ROCrate(folder)


def actions(crate, path):
    """The action that made a file, and those that made what it was made from."""
    by_result = {a["result"].id: a for a in crate.get_by_type("CreateAction")}
    made = by_result[path.name]
    used = made["object"] if isinstance(made["object"], list) else [made["object"]]
    return made, [by_result[thing.id] for thing in used if thing.id in by_result]


def test_it_holds_every_result_as_it_is(folder, crate):
    assert RESULTS
    for path in RESULTS:
        file = crate.dereference(path.name)
        content = (folder / path.name).read_bytes()
        assert content == path.read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(file["contentSize"]) == len(content)


def test_every_file_in_the_folder_is_described(folder, crate):
    described = {entity.id for entity in crate.data_entities} | {"ro-crate-metadata.json"}
    assert described == {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_the_runs_behind_a_result_are_named_with_their_code_and_data(crate, path):
    said = attributes(path)
    made, runs = actions(crate, path)
    assert made["instrument"]["version"] == said["commit"]
    assert made["endTime"] == said["created"]
    recorded = json.loads(said.get("runs", "[]"))
    assert len(runs) == len(recorded)
    for run, record in zip(runs, recorded, strict=True):
        data, config = run["object"]
        assert record["data_checksum"] in data["identifier"]
        assert json.loads(config["value"]) == json.loads(record["config"])
        assert run["instrument"]["identifier"] == record["code_digest"]
        assert run["endTime"] == record["created"] > run["startTime"]
    (checked,) = (a for a in crate.get_by_type("AssessAction") if a["object"].id == path.name)
    assert checked["instrument"]["version"] == said["verified_commit"]


def test_whatever_is_referred_to_is_there_and_every_action_is_mentioned(folder):
    graph = json.loads((folder / "ro-crate-metadata.json").read_text("utf8"))["@graph"]
    ids = [entity["@id"] for entity in graph]
    assert len(ids) == len(set(ids))

    def references(value):
        if isinstance(value, dict):
            yield value["@id"]
        for inner in value if isinstance(value, list) else ():
            yield from references(inner)

    elsewhere = ("https://w3id.org/ro/crate/1.1",)
    found = {r for e in graph for k, v in e.items() if k != "@id" for r in references(v)}
    assert found - set(elsewhere) <= set(ids)
    root = next(entity for entity in graph if entity["@id"] == "./")
    done = {e["@id"] for e in graph if e["@type"] in ("CreateAction", "AssessAction")}
    assert {mention["@id"] for mention in root["mentions"]} == done


def test_it_is_the_same_when_made_again(folder, tmp_path):
    assert call(ROOT, "results_crate", tmp_path / "crate").returncode == 0
    name = "ro-crate-metadata.json"
    assert (tmp_path / "crate" / name).read_bytes() == (folder / name).read_bytes()


def test_without_results_or_with_a_damaged_one_it_ends_with_one_line(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(result_files.ResultError, match="holds no result"):
        tool("results_crate").crate_of(tmp_path / "results")
    shutil.copyfile(RESULTS[0], tmp_path / "results/a.nc")
    (tmp_path / "results/a.nc").write_bytes(b"nothing")
    done = call(tmp_path, "results_crate", "crate")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "a.nc" in done.stderr
    assert not (tmp_path / "crate").exists()


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (lambda _: None, "has no digest"),
        (lambda whole: whole.assign_attrs(created="yesterday"), "what made it cannot be told"),
        (lambda whole: whole.assign_attrs(wall_seconds="long"), "what made it cannot be told"),
    ],
)
def test_what_nothing_vouches_for_or_says_what_cannot_be_is_refused(tmp_path, alter, said):
    (tmp_path / "results").mkdir()
    shutil.copyfile(ROOT / "CITATION.cff", tmp_path / "CITATION.cff")
    path = tmp_path / "results/regression.nc"
    whole = result_files.load(ROOT / "results/regression.nc")
    altered = alter(whole)
    if altered is None:
        path.write_bytes(netcdf.encode(whole).getvalue())
    else:
        result_files.save(altered, path)
    with pytest.raises(result_files.ResultError, match=rf"regression\.nc.*{said}"):
        tool("results_crate").crate_of(tmp_path / "results")
