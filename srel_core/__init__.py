"""Local elasticity of neural networks: S_rel measured, fitted and solved in closed form.

    import srel_core as sc
    result = sc.influence(model, x, y, probes, rule=sc.SGD(lr=1e-4))
    result.s_rel("kl")        # (n_probes, n_samples)

Notation follows the book: a step on the sample (x, y) takes the weights from w to w⁺, and
S_rel(x', x) is the change of the prediction at the probe x' over the change at x itself.
"""

from importlib.metadata import version

from srel_core.divergence import DIVERGENCES
from srel_core.measurement import Influence, influence
from srel_core.recorder import SrelRecorder
from srel_core.rules import SGD, Adam, Tangent
from srel_core.tangent import tangent_influence

__version__ = version("srel-core")

__all__ = [
    "DIVERGENCES",
    "SGD",
    "Adam",
    "Influence",
    "SrelRecorder",
    "Tangent",
    "influence",
    "tangent_influence",
]
