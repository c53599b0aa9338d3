"""Where a result comes from: code, packages, machine."""

import importlib.metadata
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = "srel-core result 1"
_PACKAGES = ("srel-core", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "xarray")
_HERE = Path(__file__).parents[1]  # the package


def provenance(
    kind: str, config: str, code: str, seconds: float, device: str = "cpu"
) -> dict[str, Any]:
    """What every result says of itself: its config (JSON), the digest of its code, its run time
    and when it ended, and the environment."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "config": config,
        "code_digest": code,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(seconds, 1),
        **environment(device),
    }


def environment(device: str = "cpu") -> dict[str, str]:
    """Package versions, Python, machine, compute device and thread count, in words."""
    import torch

    on_gpu = device.startswith("cuda")
    return {
        **installed(),
        "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "threads": str(torch.get_num_threads()),
        "commit": commit(),
    }


def installed() -> dict[str, str]:
    """Package versions, Python and kind of machine, in words."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """The CPU's own name where the system tells it (Linux), else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """The checked-out commit of this package's repository, or "unknown"; "+changes" if the package
    or a benchmark has been edited since.

    "unknown" too where the package is installed, or copied into another repository.
    """
    head = _git("rev-parse", "--short=12", "HEAD") if _in_its_own_repository() else ""
    if not head:
        return "unknown"
    return head + (
        "+changes" if _git("status", "--porcelain", "--", ".", ":(glob)../benchmarks/*.py") else ""
    )


def _in_its_own_repository() -> bool:
    """Whether the package is tracked at the top of a repository whose project it is."""
    try:
        project = tomllib.loads((_HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    is_its_project = project.get("project", {}).get("name") == "srel-core"
    at_the_top = _git("rev-parse", "--show-prefix") == f"{_HERE.name}/"
    return is_its_project and at_the_top and bool(_git("ls-files", "--", "."))


def _git(*arguments: str) -> str:
    # Set where git itself runs a program, for the repository that it runs it for.
    for_another = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {name: v for name, v in os.environ.items() if name not in for_another}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=_HERE, env=environment, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def in_words(attributes: Mapping[str, Any]) -> str:
    """What a result is about and where it comes from, in a line."""
    try:
        config = dict(json.loads(attributes["config"]))
    except (ValueError, TypeError, RecursionError):
        config = {}
    names = ("dataset", "model", "family", "target")
    what = "  ".join(str(config[name]) for name in names if name in config)
    return (
        f"{what or attributes['kind']}  seed {config.get('seed', config.get('seeds', '?'))}  "
        f"commit {attributes['commit']}  {attributes.get('device', '?')}  "
        f"{attributes.get('wall_seconds', '?')} s  {attributes['created']}"
    )
