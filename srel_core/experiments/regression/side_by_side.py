"""Many regression settings: on a CPU a process for each core, on a GPU one after another."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from srel_core.experiments.device import choose_device
from srel_core.experiments.processes import one_a_core
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.regression.settings import regression_settings

if TYPE_CHECKING:
    import xarray as xr

# Of training steps, so many that they take longer than starting the processes.
_WORTH_IT = 20_000


def run_all(
    settings: Sequence[RegressionExperiment],
    results_dir: str | Path | None = None,
    device: str = "cpu",
    report: Callable[[int], object] = lambda n: None,
) -> "dict[RegressionExperiment, xr.Dataset]":
    """The result of each setting, loaded or computed and kept, as by its `run`.

    report is called with 1 whenever another is there. Errors are those of `run`; what was finished
    before one is kept.
    """
    wanted = [setting for setting in settings if not setting.is_kept(results_dir)]
    steps = sum(setting.n_steps for setting in wanted)
    done = set[RegressionExperiment]()
    if len(wanted) > 1 and steps > _WORTH_IT and choose_device(device).type == "cpu":
        # The largest first, so that none is left to be waited for.
        largest_first = sorted(wanted, key=lambda s: s.n_steps * s.depth * s.width, reverse=True)
        for setting, _ in one_a_core(partial(_keep, results_dir), largest_first):
            done.add(setting)
            report(1)
    found = {}
    for setting in settings:
        found[setting] = setting.run(results_dir, device)
        if setting not in done:
            report(1)
    return found


def run_profile(
    profile: str,
    seeds: Sequence[int] = (),
    results_dir: str | Path | None = None,
    device: str = "cpu",
) -> "dict[RegressionExperiment, xr.Dataset]":
    """`run_all` of a profile's settings, with a progress bar; `seeds` in place of the profile's."""
    settings = regression_settings(profile, tuple(seeds) or None)
    with tqdm(total=len(settings), desc="settings", unit="setting") as bar:
        return run_all(settings, results_dir, device, bar.update)


def _keep(results_dir: str | Path | None, setting: RegressionExperiment) -> None:
    setting.run(results_dir)
