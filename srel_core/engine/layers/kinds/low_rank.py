"""Products with the low-rank factors of n steps ΔW_i = g_i a_iᵀ, at R rows of inputs."""

import torch
from torch import Tensor


def read(h: Tensor, delta: Tensor | None, a: Tensor) -> Tensor:
    """(h + Δ_i) a_i: (R, k), (n, R, k) and (n, k, m) → (n, R, m). Products are faster with their
    many rows last; that of h is one for all steps."""
    of_h = (a.mT.flatten(0, 1) @ h.T).unflatten(0, (len(a), -1))
    return (of_h if delta is None else torch.baddbmm(of_h, a.mT, delta.mT)).mT


def product(read: Tensor, g: Tensor, out: Tensor | None = None) -> Tensor:
    """read_i g_iᵀ: (n, R, positions) and (n, o, positions) → (n, R, o)."""
    if read.shape[2] == 1:  # a column and a row
        return torch.mul(read, g.mT, out=out)
    return torch.bmm(read, g.mT, out=out)


def add_product(out: Tensor, read: Tensor, g: Tensor) -> Tensor:
    """out_i + read_i g_iᵀ; `out` (n, R, o) is overwritten."""
    if read.shape[2] == 1:
        return out.addcmul_(read, g.mT)
    return out.baddbmm_(read, g.mT)
