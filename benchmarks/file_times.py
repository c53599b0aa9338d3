"""Time to save, load and list results, beside a former commit: python benchmarks/file_times.py

A former commit, given with --former, wrote results without a digest, trusted them when it loaded
them, and read each whole to list it. Both codes work on the same numbers, those of a run of the
paper profile and of a small one, in processes of their own and by turns; the least time counts.
Prints the times and writes them, with the environment, to benchmarks/results/file_times.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _results  # before all that loads torch

from srel_core.experiments.provenance import environment

ROOT = Path(__file__).parents[1]
FORMER = "473b17c00400801040d9de2e551901c2089bce08"
ROUNDS, LISTED = 5, 20
SIZES = {  # steps, rules, divergences, probes, outputs
    "a run of the paper profile": (49, 4, 6, 60, 3),
    "a small run": (6, 3, 6, 12, 3),
}
WORK = """
import importlib, json, sys, time
from pathlib import Path
import numpy as np, xarray as xr
import h5netcdf, h5py  # outside what is timed
try:
    files = importlib.import_module("srel_core.experiments.result_files")
except ModuleNotFoundError:
    files = importlib.import_module("srel_core.results")
folder, sizes, copies = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
steps, rules, divergences, probes, outputs = sizes
draw = np.random.default_rng(0)
cell = ("step", "rule")
dataset = xr.Dataset(
    {
        "change": ((*cell, "divergence", "probe", "sample"),
                   draw.lognormal(size=(steps, rules, divergences, probes, probes))),
        "own": ((*cell, "divergence", "sample"),
                draw.lognormal(size=(steps, rules, divergences, probes))),
        "prediction_change": ((*cell, "probe", "sample", "output"),
                              draw.normal(size=(steps, rules, probes, probes, outputs))),
    },
    attrs={"schema": files.SCHEMA, "kind": "class_srel", "config": "{}", "code_digest": "none",
           "commit": "none", "created": "2026-01-01"},
)
begun = time.perf_counter()
files.save(dataset, folder / "0.nc")
saved = time.perf_counter()
loaded = files.load(folder / "0.nc")
done = time.perf_counter()
assert loaded.change.identical(dataset.change)
for number in range(1, copies):
    (folder / f"{number}.nc").write_bytes((folder / "0.nc").read_bytes())
size = (folder / "0.nc").stat().st_size
print(json.dumps({"save": saved - begun, "load": done - saved, "bytes": size}))
"""
LIST = "from srel_core.cli import main; main()"


def run(code: Path, program: str, *arguments: object) -> str:
    """What a program prints on the code in this folder."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=code, text=True,
        env=os.environ | {"PYTHONPATH": str(code)}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return done.stdout


def times(code: Path, sizes: tuple[int, ...]) -> dict[str, float]:
    """Seconds to save, to load, and to list a folder of such results in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, float] = json.loads(run(code, WORK, folder, json.dumps(sizes), LISTED))
        begun = time.perf_counter()
        listed = run(code, LIST, "list", "--results-dir", folder)
        found["list"] = time.perf_counter() - begun
    if listed.count("commit none") != LISTED:
        sys.exit(f"file_times: error: expected {LISTED} results in the list, got:\n{listed}")
    return found


def least(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: min(of[name] for of in rounds) for name in rounds[0]}


def exported(commit: str, folder: Path) -> Path:
    """The code of a commit."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE)
    if packed.returncode:
        sys.exit(f"file_times: error: this clone has no commit {commit}: name one with --former")
    folder.mkdir()
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    return folder


def main() -> None:
    parser = _results.parser(__doc__)
    parser.add_argument("--former", default=FORMER, metavar="COMMIT", help="to be set beside")
    options = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(), "former": options.former[:12]}
    result |= {"rounds": ROUNDS, "listed": LISTED, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        codes = {"former": exported(options.former, Path(folder) / "former"), "present": ROOT}
        for name, sizes in SIZES.items():
            found: dict[str, list[dict[str, float]]] = {which: [] for which in codes}
            for _ in range(ROUNDS):
                for which, code in codes.items():
                    found[which].append(times(code, sizes))
            result["seconds"][name] = {which: least(rounds) for which, rounds in found.items()}
            for what in ("save", "load", "list"):
                former, present = (result["seconds"][name][which][what] for which in codes)
                print(f"{name}, {what}: {former:.3f} s before, {present:.3f} s now")
    _results.save(options.write_to, "file_times", result)


if __name__ == "__main__":
    main()
