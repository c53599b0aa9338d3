"""Print the packages of this environment as pinned requirements, sorted by name.

torch's CUDA packages exist for Linux alone, so they carry a marker.
"""

from importlib.metadata import distributions

CUDA = ("nvidia-", "cuda-", "triton")
LEFT_OUT = {"pip", "srel-core"}


def pinned() -> list[str]:
    versions = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
    return [
        f"{name}=={version}" + (' ; sys_platform == "linux"' if name.startswith(CUDA) else "")
        for name, version in sorted(versions.items())
        if name not in LEFT_OUT
    ]


if __name__ == "__main__":
    print("# Made by `make lock`. Python 3.11.")
    print("\n".join(pinned()))
