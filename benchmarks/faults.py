"""What becomes of damaged files, kills and a machine that refuses: python benchmarks/faults.py

Tries each fault and looks at what comes of it: refused, in a line, with the right numbers after it;
harmless, the right numbers without a word; or silent, other numbers, a traceback, or work that is
lost. Bits are flipped and ends cut off in every kind of file; forged and hostile files are put in
the place of ours; runs and `make book` are killed, and started again by the same command. Prints
the table and writes it, with the environment, to benchmarks/results/faults.json; exit code 1 if
anything was silent. Takes up to 20 minutes.
"""

import logging
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _results  # before all that loads torch

sys.path.append(str(Path(__file__).parents[1]))  # for what the tests share with this campaign

import _fault_committed
import _fault_files
import _fault_images
import _fault_processes
from _processes import in_fresh_process

from srel_core.experiments.provenance import environment

KINDS = {
    "files": _fault_files, "committed": _fault_committed, "images": _fault_images,
    "processes": _fault_processes,
}  # fmt: skip


def tried(kind: str) -> list[tuple[dict[str, Any], list[str]]]:
    """The rows of all faults of one kind, and what was silent of each."""
    logging.disable()
    suite = KINDS[kind]
    with tempfile.TemporaryDirectory(prefix="srel-faults-") as folder:
        return [(tally.row(), tally.silent) for tally in suite.tallies(Path(folder))]


def main() -> None:
    options = _results.parser(__doc__).parse_args()
    # Ignored in a shell's background, they would be by all that is started and signalled here.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    begun = time.monotonic()
    # Damaged files may end the process that reads them, which is to be seen.
    with ThreadPoolExecutor(2) as pool:
        # The longest first.
        rows_of = {
            kind: pool.submit(in_fresh_process, tried, kind, start="spawn")
            for kind in reversed(KINDS)
        }
        found = [row for kind in KINDS for row in rows_of[kind].result()]
    rows, total = [row for row, _ in found], {"fault": "all"}
    total |= {name: sum(row[name] for row in rows) for name in list(rows[0])[1:]}
    for row in [*rows, total]:
        print(" | ".join(str(value) for value in row.values()))
    for row, silent in found:
        for detail in silent:
            print(f"silent: {row['fault']}: {detail}")
    seconds = round(time.monotonic() - begun)
    result = {"environment": environment(), "seconds": seconds, "faults": rows, "all": total}
    _results.save(options.write_to, "faults", result)
    if total["silent"]:
        sys.exit("some faults were silent")


if __name__ == "__main__":
    main()
