# The experiments of a profile, one job for each data set and seed. A result is kept where the
# chapters look for it, under the name that srel_core gives it: one that is there is not computed
# again, and a job that was interrupted goes on from its last checkpoint.
import os

from snakemake.exceptions import WorkflowError

RESULTS = Path(os.environ.get("SREL_RESULTS") or "_build/results").expanduser()
SREL = Path(sys.executable).with_name("srel")


def swept(_):
    # Not above: it takes seconds, and the jobs, which read this file too, do without.
    from srel_core.experiments.profiles import sweep

    experiments, left_out = sweep(PROFILE)
    for name in left_out:
        print(
            f"{name}: not run, data not at hand: set SREL_DATA to a folder that holds them, or "
            f"download and run with: {SREL} run --profile {PROFILE} --dataset {name}",
            file=sys.stderr,
        )
    if not experiments:
        raise WorkflowError(f"the {PROFILE} profile has no data set at hand: see above")
    return [RESULTS / experiment.file_name for experiment in experiments]


rule sweep:
    input:
        swept,


rule experiment:
    output:
        # Snakemake would remove a result before the job that is to find it there.
        update(f"{RESULTS}/class_srel-{{dataset}}{{network}}-seed{{seed}}-{{key}}.nc"),
    wildcard_constraints:
        dataset="[a-z0-9_]+",
        network="(-[a-z0-9_]+)?",  # named where it is not the published one: the profile's
        seed="[0-9]+",
        key="[0-9a-f]+",
    threads: 4
    resources:
        gpu=1,
    message:
        "{wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "{SREL:q} run --profile {PROFILE} --dataset {wildcards.dataset} --seeds {wildcards.seed}"
        " --results-dir {RESULTS:q} --quiet"
