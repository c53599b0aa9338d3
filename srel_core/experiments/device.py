"""The device that an experiment runs on."""

import torch


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU if there is one; ValueError for a device this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {name!r} is not to be had here: use 'auto' or 'cpu'") from error
    return device
