"""A device that is no CPU, where there is no GPU: `pretended_gpu.cpp`, compiled and loaded."""

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

NAME = "pretended"


@dataclass(frozen=True)
class PretendedGPU:
    """A device by this name; a process has it from the first on, until it ends."""

    library: ctypes.CDLL
    name: str = NAME

    def counted(self, work):
        """What work returns, how many operations it launched, and how often it waited."""
        before = self._counts()
        result = work()
        return (result, *(now - then for now, then in zip(self._counts(), before, strict=True)))

    def _counts(self):
        return self.library.count_of_operations(), self.library.count_of_waits()


def compiler():
    """The compiler of C++, or None."""
    return shutil.which("c++") or shutil.which("g++")


def compiled(folder):
    """Compile it into a folder and load it."""
    library, place = folder / "pretended_gpu.so", Path(torch.__file__).parent
    includes = (place / "include", place / "include/torch/csrc/api/include")
    subprocess.run(
        [
            compiler(), "-std=c++20", "-O0", "-w", "-shared", "-fPIC",
            *(f"-I{path}" for path in includes), Path(__file__).with_suffix(".cpp"),
            "-o", library, f"-L{place / 'lib'}", "-ltorch_cpu", "-lc10",
        ],
        check=True,
    )  # fmt: skip
    torch.ops.load_library(library)
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, _module())
    return PretendedGPU(ctypes.CDLL(library))


def _module():
    """What torch asks of the Python side of a device."""
    module = ModuleType(NAME)
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: None
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module.get_rng_state = lambda device: torch.random.get_rng_state()
    module.set_rng_state = lambda state, device: torch.random.set_rng_state(state)
    return module
