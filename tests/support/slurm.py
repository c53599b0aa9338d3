"""A SLURM cluster of one node, this machine, for as long as a `with` block lasts.

Debian's munged, slurmctld and slurmd, with their files in a folder of their own; no accounting, no
cgroups. The node has two CPUs and, by name, one GPU. Needs root.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGES = ("munge", "slurm-wlm")
DAEMONS = ("munged", "slurmctld", "slurmd")
# Where every SLURM command looks. SLURM_CONF will not do: Snakemake's plugin drops it in job steps.
SYSTEM = Path("/etc/slurm/slurm.conf")
CONF = """\
ClusterName=srel
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:1
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE
"""


class NoCluster(RuntimeError):
    """Why there can be no cluster on this machine: one line."""


@contextmanager
def cluster() -> Iterator[None]:
    """Start the cluster, and stop all of it in the end. NoCluster if it cannot be."""
    if os.geteuid() != 0:
        raise NoCluster("SLURM's daemons are started by root: run this as root, in a container say")
    if SYSTEM.exists():
        raise NoCluster(f"{SYSTEM} is there: the SLURM of this machine is left alone")
    install()
    with TemporaryDirectory(prefix="slurm-") as name, ExitStack() as undo:
        folder = Path(name)
        configure(folder)
        SYSTEM.unlink(missing_ok=True)  # a link left over from a cluster that was killed
        SYSTEM.symlink_to(folder / "slurm.conf")
        undo.callback(SYSTEM.unlink)
        files = ("socket", "key-file", "pid-file", "seed-file")
        start(undo, folder, "munged", "-F", *(f"--{f}={folder}/munge.{f}" for f in files))
        wait_for(folder, "munge", "-n", f"--socket={folder}/munge.socket")
        for daemon in ("slurmctld", "slurmd"):
            start(undo, folder, daemon, "-D", "-f", str(folder / "slurm.conf"))
        wait_for(folder, "sinfo", "-h", "-o", "%T", says="idle")
        undo.callback(end_jobs)
        yield


def install() -> None:
    """Debian's packages, with apt-get, if they are not there."""
    if all(map(shutil.which, DAEMONS)):
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *command], env=environment, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        packages = " and ".join(PACKAGES)
        raise NoCluster(f"{packages} are not installed, and cannot be: {error}") from error
    if Path("/run/systemd/system").exists():  # Debian starts what it installs
        subprocess.run(["systemctl", "disable", "--now", *DAEMONS], capture_output=True)


def configure(folder: Path) -> None:
    """Write the configuration of all three daemons."""
    folder.chmod(0o755)  # munged wants its socket where everyone can reach it
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "munge.key-file").touch(0o600)
    (folder / "munge.key-file").write_bytes(secrets.token_bytes(128))
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [free.getsockname()[1] for free in (one, other)]
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, ports=ports, folder=folder))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")


def start(undo: ExitStack, folder: Path, *command: str) -> None:
    """Start a daemon, out of reach of the terminal's Ctrl-C; `undo` stops it."""
    with (folder / f"{command[0]}.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def stop() -> None:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    undo.callback(stop)


def wait_for(folder: Path, *command: str, says: str = "") -> None:
    """Wait until `command` succeeds and says so; NoCluster, with the logs' ends, if it does not."""
    deadline = time.monotonic() + 30
    while True:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0 and says in done.stdout:
            return
        if time.monotonic() > deadline:
            ends = [
                line for log in folder.glob("*.log") for line in log.read_text().splitlines()[-9:]
            ]
            raise NoCluster(f"{command[0]}: {done.stdout}{done.stderr}; {'; '.join(ends)}")
        time.sleep(0.2)


def end_jobs() -> None:
    """Cancel every job, and wait until the last process of the last one is gone."""
    subprocess.run(["scancel", "--user=root"], check=True)
    deadline = time.monotonic() + 30
    while subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout:
        if time.monotonic() > deadline:
            return  # stopping the daemons is all that is left to do
        time.sleep(0.2)
