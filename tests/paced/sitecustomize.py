"""Seen by every Python started with this folder on PYTHONPATH: paces `srel run` for a test.

The folder that SREL_PACED names gets a line "SEED STEP" in `measured` for each measurement. The
first process to come to step 10 while there is a file `hold` there takes it, writes its process
id and its seed to `held`, and goes on when that file is gone. State is saved at every checkpoint.
"""

import os
import sys
import time
from pathlib import Path

if "run" in sys.orig_argv and any(Path(word).name == "srel" for word in sys.orig_argv):
    from srel_core import SrelRecorder
    from srel_core.experiments import class_experiment

    folder = Path(os.environ["SREL_PACED"])
    seed = sys.orig_argv[sys.orig_argv.index("--seeds") + 1]
    measure = SrelRecorder.measure

    def paced(self, step):
        if step >= 10:
            pause()
        measure(self, step)
        with (folder / "measured").open("a") as log:
            log.write(f"{seed} {step}\n")

    def pause():
        taken, held = folder / f"taken-{os.getpid()}", folder / "held"
        try:
            (folder / "hold").rename(taken)
        except FileNotFoundError:
            return
        taken.write_text(f"{os.getpid()} {seed}")
        taken.rename(held)
        while held.exists():
            time.sleep(0.05)

    SrelRecorder.measure = paced
    class_experiment._SAVE_EVERY = 0.0
