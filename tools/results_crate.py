"""Put the committed results and their provenance into an RO-Crate, a folder that explains itself.

    python tools/results_crate.py _build/ro-crate

Each file stands beside `ro-crate-metadata.json`, which says what it is, which runs it was made
from, with which code, on what machine and data, and when the code last gave a part of it again. The
terms are those of a Process Run Crate. The folder is made anew.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from rocrate.model.contextentity import ContextEntity  # type: ignore[import-untyped]
from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

from srel_core.book.committed import regression_file, schema, study_file
from srel_core.book.committed.standing import committed_at
from srel_core.experiments.netcdf import one_line
from srel_core.experiments.result_files import ResultError

TERMS = "https://w3id.org/ro/terms/workflow-run/context"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CC_BY = "https://creativecommons.org/licenses/by/4.0/"
BESIDE = ("README.md", "../CITATION.cff", "../LICENSE-TEXT")
WORDS = {
    schema.KIND: "Class-level results over all seeds: {}",
    study_file.KIND: "Same-class AUC and preference in every row of the study: {}",
    regression_file.KIND: "Verdicts on all settings of the regression experiments",
}
Attributes = Mapping[str, Any]


def crate_of(results: Path) -> ROCrate:
    """The crate of all results in a folder. ResultError if there are none, or one is damaged or
    says of itself what cannot be."""
    found = {path: committed_at(path).attrs for path in sorted(results.glob("*.nc"))}
    if not found:
        raise ResultError(f"{results} holds no result: name the folder of committed results")
    cited = yaml.safe_load((results / "../CITATION.cff").read_text("utf8"))
    newest = max(a.get("verified_on", a["created"]) for a in found.values())
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)  # sha256
    crate.name = f"{cited['title']}: results"
    crate.description = (
        "Committed results of measurements of local elasticity, with the runs and the code that "
        "made them"
    )
    crate.license = crate.add(
        ContextEntity(crate, CC_BY, {"@type": "CreativeWork", "name": "CC BY 4.0"})
    )
    crate.datePublished = newest[:10]
    crate.root_dataset["author"] = crate.root_dataset["publisher"] = authors(crate, cited)
    crate.root_dataset["conformsTo"] = add(
        crate, PROFILE, "CreativeWork", name="Process Run Crate", version="0.5"
    )
    for path, said in found.items():
        try:
            file = crate.add_file(path, path.name, properties=described(path, said))
            made(crate, file, path.stem, said)
        except (ValueError, LookupError, TypeError) as error:
            raise ResultError(f"{path}: what made it cannot be told ({one_line(error)})") from error
    for name in BESIDE:
        path = results / name
        crate.add_file(
            path, path.name, properties={"name": path.name, "encodingFormat": "text/plain"}
        )
    return crate


def authors(crate: ROCrate, cited: Attributes) -> Any:
    """Who is behind all of it, as CITATION.cff has them."""
    (author,) = cited["authors"]
    return add(crate, "#authors", "Organization", name=author["name"])


def described(path: Path, said: Attributes) -> dict[str, Any]:
    config = json.loads(said["config"])
    return {
        "name": WORDS[said["kind"]].format(config.get("dataset") or config.get("study")),
        "dateCreated": said["created"],
        "encodingFormat": "application/x-netcdf",
        "contentSize": str(path.stat().st_size),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "license": {"@id": CC_BY},
    }


def made(crate: ROCrate, file: Any, name: str, said: Attributes) -> None:
    """The runs behind a file, and the last time that its code gave a part of it again."""
    runs = [run_of(crate, name, run) for run in json.loads(said.get("runs", "[]"))]
    if runs:
        how = {"description": f"From {len(runs)} runs", "endTime": said["created"]}
    else:  # it was measured when it was written
        how = {"description": on_what(said), **times(said)}
    act(
        crate, f"#make-{name}", f"Make {file.id}", said, runs or config_of(crate, said), file, **how
    )
    if "verified_on" in said:
        verified = {"commit": said["verified_commit"], "code_digest": said["verified_code_digest"]}
        title = f"Compute a part of {file.id} again, and find that it agrees"
        act(
            crate, f"#verify-{name}", title, verified, file,
            **{"@type": "AssessAction", "endTime": said["verified_on"]},
        )  # fmt: skip


def run_of(crate: ROCrate, name: str, run: Attributes) -> Any:
    """The measurements of one seed: too large for the crate, which says where they come from."""
    seed = json.loads(run["config"])["seed"]
    # The runs of a study may share a seed.
    key = f"{name}-seed{seed}-{hashlib.sha256(run['config'].encode()).hexdigest()[:8]}"
    measured = add(
        crate, f"#measurements-{key}", "CreativeWork",
        name=f"All measurements of {name}, seed {seed}", dateCreated=run["created"],
    )  # fmt: skip
    images = add(
        crate, f"#data-{run['data_checksum'][:12]}", "CreativeWork", name=run["data_source"],
        identifier=[run["data_checksum"], run["test_checksum"]],
    )  # fmt: skip
    act(
        crate, f"#run-{key}", f"Train and measure, seed {seed}", run,
        [images, config_of(crate, run)], measured, description=on_what(run), **times(run),
    )  # fmt: skip
    return measured


def act(
    crate: ROCrate, id_: str, name: str, code: Attributes, used: Any, gave: Any = None, **how: Any
) -> None:
    """Something that the library did, at one state of its code."""
    program = add(
        crate, f"#srel_core-{code['commit']}-{code['code_digest'][:12]}", "SoftwareApplication",
        name="srel_core", version=code["commit"], identifier=code["code_digest"],
        url="https://arxiv.org/abs/2111.01166",
    )  # fmt: skip
    agent = crate.dereference("#authors")
    said = {"name": name, "agent": {"@id": agent.id}, **how}
    crate.root_dataset.append_to("mentions", crate.add_action(program, id_, used, gave, said))


def config_of(crate: ROCrate, run: Attributes) -> Any:
    """What a run was asked to do."""
    digest = hashlib.sha256(run["config"].encode()).hexdigest()[:12]
    return add(crate, f"#config-{digest}", "PropertyValue", name="config", value=run["config"])


def on_what(said: Attributes) -> str:
    versions = ", ".join(f"{n} {said[n]}" for n in ("python", "torch") if n in said)
    return f"{said['device']}, {said['threads']} threads, {versions}"


def times(said: Attributes) -> dict[str, str]:
    """A result says when it was done, and how long it took."""
    end = datetime.fromisoformat(said["created"])
    start = end - timedelta(seconds=float(said["wall_seconds"]))
    return {"startTime": start.isoformat(timespec="seconds"), "endTime": end.isoformat()}


def add(crate: ROCrate, id_: str, kind: str, **properties: Any) -> Any:
    """An entity that is no file; the one that is there, if it has been added before."""
    there = crate.dereference(id_)
    return there or crate.add(ContextEntity(crate, id_, {"@type": kind, **properties}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Put the committed results into an RO-Crate.")
    parser.add_argument("folder", type=Path, help="where the crate goes; it is emptied first")
    folder = parser.parse_args().folder
    try:
        crate = crate_of(Path("results"))
        shutil.rmtree(folder, ignore_errors=True)
        crate.write(folder)
    except ResultError as error:
        sys.exit(f"results_crate: error: {error}")
    except OSError as error:
        sys.exit(f"results_crate: error: {error.filename}: {error.strerror}")
    print(f"wrote {folder / 'ro-crate-metadata.json'}")


if __name__ == "__main__":
    main()
