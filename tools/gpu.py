"""Whether there may be a GPU for torch, found out without importing it, which takes seconds."""

import shutil

PROGRAMS = ("nvidia-smi", "rocm-smi")  # each comes with a driver


def has_driver() -> bool:
    return any(map(shutil.which, PROGRAMS))
