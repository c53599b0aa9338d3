"""Calibration of `fit_two_phase` on curves whose truth is known: python benchmarks/phases.py

Every curve rises by 1 over steps from 0 to 1, so noise, errors and widths are fractions of a
range. Prints the tables and writes them, with the environment, to benchmarks/results/phases.json.
Takes about ten minutes on one core. All numbers but the times follow from the seeds in this file.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import _results
import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.provenance import environment
from srel_core.statistics.phases import TwoPhaseFit, fit_two_phase

TRIALS = 500
Floats = NDArray[np.float64]
Row = dict[str, Any]


def ramp(x: Floats, at: float | Floats) -> Floats:
    """Up to 1 at `at`, flat from there on."""
    return np.minimum(x / at, 1)


def correlated(rng: np.random.Generator, shape: tuple[int, ...], rho: float) -> Floats:
    """Noise of unit size with correlation rho from each step to the next, (..., T)."""
    noise = rng.standard_normal(shape)
    for t in range(1, shape[-1]):
        noise[..., t] = rho * noise[..., t - 1] + np.sqrt(1 - rho**2) * noise[..., t]
    return noise


def best_possible_error(x: Floats, at: float, noise: float) -> float:
    """Median error of an efficient estimate of the break of a ramp (Cramér–Rao, large T)."""
    nuisance = np.stack([np.ones_like(x), x, np.maximum(x - at, 0)], axis=1)
    tangent = (x > at) / at  # of the ramp, in the break
    left = tangent - nuisance @ np.linalg.lstsq(nuisance, tangent)[0]
    return 0.6745 * noise / float(np.linalg.norm(left))


def trials(name: str, n: int, one: Callable[[np.random.Generator], Row]) -> dict[str, Floats]:
    """`one` n times, its numbers in arrays. The random numbers depend on the name alone."""
    rng = np.random.default_rng(list(name.encode()))
    rows = [one(rng) for _ in range(n)]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def scored(fit: TwoPhaseFit, truth: float) -> Row:
    lo, hi = fit.interval
    return {
        "error": abs(fit.break_step - truth),
        "covers": lo <= truth <= hi,
        "width": hi - lo,
        "found": fit.p_value <= 0.05,
        "autocorrelation": fit.residual_autocorrelation,
    }


def ramp_row(
    curve: str,
    n_steps: int,
    noise: float,
    n_curves: int = 1,
    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats] | None = None,
) -> Row:
    """Ramps that break anywhere from 0.2 to 0.5, with noise that `draw` makes."""
    x = np.linspace(0, 1, n_steps)
    shape = (n_steps,) if n_curves == 1 else (n_curves, n_steps)

    def one(rng: np.random.Generator) -> Row:
        at = rng.uniform(0.2, 0.5)
        drawn = draw(rng, shape) if draw else rng.standard_normal(shape)
        scores = scored(fit_two_phase(x, ramp(x, at) + noise * drawn), at)
        return scores | {"possible": best_possible_error(x, at, noise / np.sqrt(n_curves))}

    got = trials(f"{curve} {n_steps} {noise} {n_curves}", TRIALS, one)
    return {
        "noise along the steps": curve,
        "curves": n_curves,
        "steps": n_steps,
        "noise": noise,
        "median error": float(np.median(got["error"])),
        "best possible": float(np.median(got["possible"])) if draw is None else None,
        "interval covers": float(got["covers"].mean()),
        "median width": float(np.median(got["width"])),
        "found": float(got["found"].mean()),
        "autocorrelation": float(np.median(got["autocorrelation"])),
    }


def ramps() -> Iterator[Row]:
    for n_steps in (60, 100, 200):
        for noise in (0.01, 0.05, 0.1):
            yield ramp_row("independent", n_steps, noise)
    for noise in (0.01, 0.05, 0.1):
        yield ramp_row("independent", 60, noise, n_curves=5)


def short_ramps() -> Iterator[Row]:
    for n_steps in (8, 12, 20):
        for noise in (0.01, 0.1):
            yield ramp_row("independent", n_steps, noise)


def other_noise() -> Iterator[Row]:
    """What the assumptions are worth: the noise is 0.1, but not independent or not of one size."""

    def walk(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        level = 3 * rng.standard_normal((*shape[:-1], 1))
        return level + correlated(rng, shape, 0.9)

    kinds: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
        "correlated 0.5": lambda rng, shape: correlated(rng, shape, 0.5),
        "correlated 0.9, own level": walk,
        "three times as large at the start": lambda rng, shape: (
            rng.standard_normal(shape) * np.linspace(1.5, 0.5, shape[-1])
        ),
        "Student t, 3 degrees": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    }
    for kind, draw in kinds.items():
        for n_curves in (1, 3, 5, 10):
            yield ramp_row(kind, 60, 0.1, n_curves, draw)


def breaks_that_vary() -> Iterator[Row]:
    """Seeds that each bend elsewhere: the mean bends smoothly, and the truth is its best hinge."""
    x = np.linspace(0, 1, 80)

    def ramps_at(rng: np.random.Generator, n: int) -> Floats:
        return ramp(x, np.clip(rng.normal(0.35, 0.08, (n, 1)), 0.1, 0.9))

    def exponentials(rng: np.random.Generator, n: int) -> Floats:
        return 1 - np.exp(-x / (0.2 * np.exp(0.3 * rng.standard_normal((n, 1)))))

    for name, make in (("ramps", ramps_at), ("saturating exponentials", exponentials)):
        truth = fit_two_phase(x, make(np.random.default_rng(0), 20000).mean(0)).break_step
        for n_curves in (3, 5, 10):

            def one(
                rng: np.random.Generator,
                make: Callable[[np.random.Generator, int], Floats] = make,
                n: int = n_curves,
                truth: float = truth,
            ) -> Row:
                curves = make(rng, n) + 0.02 * rng.standard_normal((n, x.size))
                return scored(fit_two_phase(x, curves), truth)

            got = trials(f"{name} {n_curves}", TRIALS, one)
            yield {
                "curves": name,
                "seeds": n_curves,
                "break of the mean": truth,
                "median error": float(np.median(got["error"])),
                "interval covers": float(got["covers"].mean()),
                "median width": float(np.median(got["width"])),
                "found": float(got["found"].mean()),
            }


def straight_lines() -> Iterator[Row]:
    """False alarms at p ≤ 0.05. The slope does not matter to the test, nor does the noise."""
    cases = [(1, n, 0.0) for n in (8, 20, 60, 200)]
    cases += [(r, 60, rho) for r in (3, 5, 10) for rho in (0.0, 0.9)]
    cases += [(1, 60, 0.5)]
    for n_curves, n_steps, rho in cases:
        x = np.linspace(0, 1, n_steps)

        def one(
            rng: np.random.Generator, x: Floats = x, r: int = n_curves, rho: float = rho
        ) -> Row:
            noise = 0.1 * correlated(rng, (r, x.size), rho)
            curves = rng.choice([0.0, 1.0]) * x + noise
            fit = fit_two_phase(x, curves if r > 1 else curves[0])
            return {"found": fit.p_value <= 0.05, "width": fit.interval[1] - fit.interval[0]}

        got = trials(f"line {n_curves} {n_steps} {rho}", 4000, one)
        yield {
            "curves": n_curves,
            "steps": n_steps,
            "correlation": rho,
            "false alarms": float(got["found"].mean()),
            "standard error": float(got["found"].std() / np.sqrt(got["found"].size)),
            "median width": float(np.median(got["width"])),
        }


def saturating_exponentials() -> Iterator[Row]:
    """No true break: what the best hinge to 1 − exp(−x/τ) says."""
    x = np.linspace(0, 1, 100)
    for scale in (0.05, 0.1, 0.2, 0.5):
        for noise in (0.01, 0.05, 0.1):

            def one(rng: np.random.Generator, scale: float = scale, noise: float = noise) -> Row:
                y = 1 - np.exp(-x / scale) + noise * rng.standard_normal(x.size)
                fit = fit_two_phase(x, y)
                return scored(fit, 0) | {
                    "break": fit.break_step,
                    "late": fit.slope_late / fit.slope_early,
                    "bends": fit.residual_autocorrelation > 2 / np.sqrt(x.size),
                }

            got = trials(f"exponential {scale} {noise}", 200, one)
            yield {
                "τ": scale,
                "noise": noise,
                "break / τ": float(np.median(got["break"])) / scale,
                "median width": float(np.median(got["width"])),
                "late / early slope": float(np.median(got["late"])),
                "p ≤ 0.05": float(got["found"].mean()),
                "autocorrelation": float(np.median(got["autocorrelation"])),
                "autocorrelation > 2/√T": float(got["bends"].mean()),
            }


def refusals() -> Iterator[Row]:
    x = np.linspace(0, 1, 60)
    for name, steps, values in (
        ("constant", x, np.full(60, 0.7)),
        ("straight line, no noise", x, 2 * x - 1),
        ("seven steps", x[:7], ramp(x, 0.05)[:7]),
        ("two curves", x, np.stack([ramp(x, 0.3), ramp(x, 0.4)])),
        ("a NaN", x, np.where(x == 0, np.nan, ramp(x, 0.3))),
    ):
        try:
            answer = str(fit_two_phase(steps, values))
        except ValueError as error:
            answer = f"{type(error).__name__}: {error}"
        yield {"curve": name, "answer": answer}


def speed() -> Iterator[Row]:
    """The first fit on a grid of steps also simulates straight lines there, once."""
    rng = np.random.default_rng(0)
    for n_steps in (60, 200, 1000):
        for n_curves in (1, 5):
            x = np.geomspace(1, 2, n_steps)  # no other table has this grid
            curves = ramp(x - 1, 0.3) + 0.05 * rng.standard_normal((n_curves, n_steps))
            times = []
            for _ in range(6):
                start = time.perf_counter()
                fit_two_phase(x, curves if n_curves > 1 else curves[0])
                times.append(1e3 * (time.perf_counter() - start))
            yield {
                "steps": n_steps,
                "curves": n_curves,
                "first, ms": times[0],
                "each, ms": float(np.median(times[1:])),
            }


TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "ramps": ramps,
    "short ramps": short_ramps,
    "other noise": other_noise,
    "breaks that vary": breaks_that_vary,
    "straight lines": straight_lines,
    "saturating exponentials": saturating_exponentials,
    "refusals": refusals,
    "speed": speed,
}


def show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def main() -> None:
    options = _results.parser(__doc__).parse_args()
    start = time.perf_counter()
    tables: dict[str, list[Row]] = {}
    for name, rows in TABLES.items():
        print(f"\n{name}")
        tables[name] = []
        for row in rows():
            if not tables[name]:
                print(" | ".join(row))
            print(" | ".join(show(value) for value in row.values()), flush=True)
            tables[name].append(row)
    here = {**environment(), "seconds": round(time.perf_counter() - start)}
    result = {"environment": here, "tables": tables}
    _results.save(options.write_to, "phases", result)


if __name__ == "__main__":
    main()
