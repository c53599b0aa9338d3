"""Gradient flows in closed form: weights, loss and S_rel at any times, NumPy in and NumPy out.

    RidgeFlow      penalised least squares on features
    ReluGateFlow   one ReLU gate learning another
    PowerFlow      coefficients β = w^{⊙d}: a diagonal linear network of depth d
    RadialFlow     coefficients β = ‖w‖^{d−1} w

Each has `weights(t)`, `loss(t)` and `s_rel(t, probe, sample)`, the last two also `beta(t)`. A
time is that of ẇ = −(gradient): s steps of gradient descent of size η reach t ≈ sη. t is ≥ 0
and finite, of shape (T,); a scalar gives the results without their leading axis T. S_rel is
evaluated for m pairs at once, one row of `probe` and of `sample` per pair.

Inputs are within ±1e300 (features within ±1e150), of any sizes beside one another. What no float64
holds, such as a loss of 1e400, is refused with the time at which it comes up.
"""

from srel_core.flows.power import PowerFlow
from srel_core.flows.radial import RadialFlow
from srel_core.flows.relu_gate import ReluGateFlow
from srel_core.flows.ridge import RidgeFlow

__all__ = ["PowerFlow", "RadialFlow", "ReluGateFlow", "RidgeFlow"]
