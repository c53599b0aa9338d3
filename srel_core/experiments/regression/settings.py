"""Which regression experiments a profile runs, and which of them differ in one thing alone."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from srel_core.choices import check_known
from srel_core.experiments.profiles import PROFILES
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.regression.problems import REAL
from srel_core.rules import OPTIMIZER

ADAM_LR = 1e-3  # of Adam, in training and as a step rule
_SEEDS = {"smoke": 3, "laptop": 10, "paper": 20}
_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"n_steps": 100, "n_points": 20, "n_train": 60, "n_pairs": 24},
    "laptop": {},
    "paper": {"n_steps": 10_000, "n_points": 200, "n_pairs": 100},
}
_WIDTHS = {"smoke": (4,), "laptop": (20, 200, 1000), "paper": (20, 100, 200, 500, 1000)}
_DEPTHS = {"smoke": (2,), "laptop": (2, 4, 5), "paper": (2, 4, 5)}
_GAINS = {"smoke": (2.0,), "laptop": (0.5, 2.0), "paper": (0.5, 1.5, 2.0)}
_RATES = {"smoke": (0.04,), "laptop": (0.005, 0.01, 0.04), "paper": (0.005, 0.01, 0.04)}


def regression_settings(
    profile: str = "laptop", seeds: tuple[int, ...] | None = None
) -> list[RegressionExperiment]:
    """The settings of a profile, all different, each with all its seeds.

    Around a ReLU and a tanh network of depth 3 and width 50 (8 in smoke) that learn a teacher by
    SGD, one thing is changed at a time: depth; width (at depth 2); learning rate; size of the first
    weights; training; target and inputs. Then single ReLU gates, and linear models as the control.

    smoke   a few steps of a few settings, 3 seeds: seconds
    laptop  10 seeds: minutes
    paper   20 seeds, longer trainings, more pairs and settings: an hour or so on a CPU
    """
    check_known("profile", profile, PROFILES)
    base = RegressionExperiment(
        width=8 if profile == "smoke" else 50,
        seeds=seeds or tuple(range(_SEEDS[profile])),
        **_SIZES[profile],
    )
    found = [e for a in ("relu", "tanh") for e in _networks(replace(base, activation=a), profile)]
    return [*dict.fromkeys([*found, *_gates(base), *_linear(base)])]


def bases(settings: Iterable[RegressionExperiment]) -> dict[str, RegressionExperiment]:
    """By activation, the settings around which the others vary."""
    return {e.activation: e for e in settings if f"adam:{ADAM_LR:g}" in e.more_rules}


def varied(
    settings: Iterable[RegressionExperiment], base: RegressionExperiment, field: str
) -> list[RegressionExperiment]:
    """Those settings that differ from `base` in this field alone, and `base`; by its value."""
    like = [e for e in settings if _same_but(e, base, field)]
    return sorted(like, key=lambda e: getattr(e, field))


def describe(setting: RegressionExperiment) -> str:
    """The setting in words, without its seeds and sizes: "relu 3×50, teacher, sgd 0.02"."""
    e = setting
    network = {"linear": "linear", "relu_gate": "gate"}.get(
        e.family, f"{e.activation} {e.depth}×{e.width}"
    )
    network += f" ×{e.gain:g}" if e.gain != 1 else ""
    target = e.target.replace("_", " ") + (", mixture" if e.inputs == "mixture" else "")
    return f"{network}, {target}, {e.training} {e.lr:g}"


def _networks(base: RegressionExperiment, profile: str) -> Iterator[RegressionExperiment]:
    yield replace(base, more_rules=("tangent", f"adam:{ADAM_LR:g}"))
    yield from (replace(base, depth=depth) for depth in _DEPTHS[profile])
    shallow = replace(base, depth=2)
    yield shallow
    yield from (replace(shallow, width=width) for width in _WIDTHS[profile])
    yield from (replace(base, lr=lr) for lr in _RATES[profile])
    yield from (replace(base, gain=gain) for gain in _GAINS[profile])
    yield replace(base, training="gd")
    by_adam = replace(base, training="adam", lr=ADAM_LR, more_rules=("tangent", OPTIMIZER))
    yield by_adam
    for target in ("teacher", "noisy_teacher", "smooth"):
        yield replace(base, target=target, inputs="mixture")
        if target != "teacher":
            yield replace(base, target=target)
    yield replace(by_adam, target="smooth")
    for target, data in REAL.items():
        n_train = min(base.n_train, data.n_train)
        yield replace(base, target=target, n_train=n_train)
        yield replace(by_adam, target=target, n_train=n_train)
    yield replace(base, target="diabetes", training="gd")


def _gates(base: RegressionExperiment) -> Iterator[RegressionExperiment]:
    # Half of the samples of a gate are asleep, and most pairs never move: so many pairs.
    gate = replace(base, family="relu_gate", n_steps=_short(base), n_pairs=5 * base.n_pairs)
    yield gate
    # All points at every step, and many of them: near the flow, which is that of the mean.
    whole = replace(gate, training="gd", n_train=2000)
    yield from (replace(whole, lr=lr) for lr in (0.01, 0.02, 0.04))
    yield replace(whole, target="noisy_teacher")


def _linear(base: RegressionExperiment) -> Iterator[RegressionExperiment]:
    linear = replace(base, family="linear", n_steps=_short(base))
    yield linear
    yield replace(linear, target="noisy_teacher", inputs="mixture")
    yield replace(linear, target="diabetes")


def _short(base: RegressionExperiment) -> int:
    """Steps enough for one layer: with more, the residuals of a linear model that learns a linear
    teacher are exactly 0 here and there, and no step there has an S_rel."""
    return 5 * base.n_points


def _same_but(e: RegressionExperiment, base: RegressionExperiment, field: str) -> bool:
    return replace(e, more_rules=base.more_rules, **{field: getattr(base, field)}) == base
