"""Local elasticity of neural networks: S_rel measured, fitted and solved in closed form.

    import srel_core as sc
    result = sc.influence(model, x, y, probes, rule=sc.SGD(lr=1e-4))
    result.s_rel("kl")        # (n_probes, n_samples)

Notation follows the book: a step on the sample (x, y) takes the weights from w to w⁺, and
S_rel(x', x) is the change of the prediction at the probe x' over the change at x itself.

What users call is in this module, and loaded when it is asked for: `srel_core.flows` and
`srel_core.statistics` need no torch. It comes from

    measurement, tangent    S_rel of a finite step, and of a vanishing one
    recorder                the same at chosen steps of a training loop
    rules, divergence       steps, and the discrepancies that they are measured in
    cli                     the command `srel`

and behind these stand six packages, each of which imports only from those below it:

    book           what only the chapters and the tools of the book need
    integrations   other people's training loops, such as the `Trainer` of transformers
    experiments    configs, data, networks, training, and results on disk with provenance
    engine         how one measurement is computed: the definition, and each fast way
    statistics     class matrices, AUC, intervals, components of variance, two-phase fit
    flows          gradient flows in closed form

To add a divergence: a record in `divergence`; a step rule: `rules`; a data set: a record in
`experiments.datasets.catalogue`; a network: `experiments.networks`; a figure: `book.figures`.
"""

from importlib import import_module

TYPE_CHECKING = False  # as in typing, which takes longer to load than all that is here
if TYPE_CHECKING:
    from srel_core.divergence import DIVERGENCES
    from srel_core.measurement import Influence, influence
    from srel_core.optimizer_step import OptimizerStep
    from srel_core.recorder import SrelRecorder
    from srel_core.rules import SGD, Adam, Rule, Tangent
    from srel_core.statistics.by_class import class_matrix, same_class_auc
    from srel_core.statistics.phases import NoBreakError, TwoPhaseFit, fit_two_phase
    from srel_core.tangent import tangent_influence

__all__ = [
    "DIVERGENCES",
    "SGD",
    "Adam",
    "Influence",
    "NoBreakError",
    "OptimizerStep",
    "Rule",
    "SrelRecorder",
    "Tangent",
    "TwoPhaseFit",
    "class_matrix",
    "fit_two_phase",
    "influence",
    "same_class_auc",
    "tangent_influence",
]

_MODULES = {
    "divergence": ("DIVERGENCES",),
    "measurement": ("Influence", "influence"),
    "optimizer_step": ("OptimizerStep",),
    "recorder": ("SrelRecorder",),
    "rules": ("SGD", "Adam", "Rule", "Tangent"),
    "statistics.by_class": ("class_matrix", "same_class_auc"),
    "statistics.phases": ("NoBreakError", "TwoPhaseFit", "fit_two_phase"),
    "tangent": ("tangent_influence",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        # Takes longer to load than all the rest.
        return import_module("importlib.metadata").version("srel-core")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
