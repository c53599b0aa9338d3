"""What citation managers, archives and package indexes read says the same of the book."""

import json
import re
import tomllib

import yaml

from tests.support.book import ROOT

CITED = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
ZENODO = json.loads((ROOT / ".zenodo.json").read_text("utf8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]


def test_all_three_name_the_same_book():
    assert CITED["title"] == ZENODO["title"]
    assert CITED["version"] == ZENODO["version"] == PROJECT["version"]
    assert CITED["license"] == ZENODO["license"] == PROJECT["license"]
    assert CITED["keywords"] == ZENODO["keywords"] == PROJECT["keywords"]
    assert CITED["authors"] == ZENODO["creators"] == PROJECT["authors"]
    described = re.sub("<.*?>", "", ZENODO["description"])
    assert re.sub(r"\W", "", described) == re.sub(r"\W", "", CITED["abstract"])


def test_the_paper_is_the_one_that_the_citation_refers_to():
    (paper,) = CITED["references"]
    (related,) = ZENODO["related_identifiers"]
    assert [entry["value"] for entry in paper["identifiers"]] == [related["identifier"]]
