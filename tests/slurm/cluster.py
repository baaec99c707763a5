"""A real SLURM of one node for a test session: no systemd, no database, fake GPUs, everything in one folder."""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
# Stub of a GPU's device file: SLURM allocates files and does not open them.
DEVICES: Final = ("/dev/null", "/dev/zero")
PARTITIONS: Final = ("cpu", "gpu")

# Daemons are installed where an ordinary user's PATH does not lead.
SEARCH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def missing_programs() -> list[str]:
    """Return the programs that SLURM needs and this machine does not have."""
    return [program for program in PROGRAMS if not shutil.which(program, path=SEARCH)]


def eventually(condition: Callable[[], object], what: str, *, seconds: float = 120.0) -> None:
    """Wait until ``condition`` holds; fail after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


class Cluster:
    """Munge, slurmctld and slurmd on this machine, with two partitions, ``cpu`` and ``gpu``, of the same node.

    Attributes:
      environment: with which commands find this cluster.
    """

    def __init__(self, directory: Path, *, cpus: int = 16, megabytes: int = 64_000):
        """Configure a cluster in an empty folder; its node reports this many cores and this much memory."""
        self._directory = directory
        # Munge's socket has to be accessible to every user.
        directory.chmod(0o755)
        self._node = socket.gethostname().split(".")[0]
        ports = free_ports(2)
        for name in ("log", "ctld", "d", "munge", "run", "bin"):
            (directory / name).mkdir()
        # Munge refuses a key that others could read, and a socket that they could not reach.
        (directory / "munge").chmod(0o700)
        key = directory / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        gres = [f"Name=gpu File={device}\n" for device in DEVICES]
        (directory / "gres.conf").write_text("".join(gres))
        self._configuration = directory / "slurm.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                node=self._node,
                user=getpass.getuser(),
                ctld_port=ports[0],
                d_port=ports[1],
                cpus=cpus,
                megabytes=megabytes,
                gpus=len(DEVICES),
            )
            + "".join(
                f"PartitionName={name} Nodes={self._node} MaxTime=UNLIMITED DefaultTime=10 DefMemPerCPU=256 State=UP\n"
                for name in PARTITIONS
            )
        )
        # A cluster has its configuration in /etc. Here an environment variable names it, which Snakemake's executor
        # takes away from its steps as it does with all of SLURM's.
        srun = directory / "bin" / "srun"
        real = shutil.which("srun", path=SEARCH)
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self._configuration} exec {real} "$@"\n')
        srun.chmod(0o755)
        self.environment: dict[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(self._configuration),
            "PATH": f"{directory / 'bin'}{os.pathsep}{SEARCH}",
        }

    def start(self) -> None:
        """Start the daemons; return when the node takes jobs."""
        run, log = self._directory / "run", self._directory / "log"
        munge = ["--key-file", self._directory / "munge" / "key", "--socket", run / "munge.socket"]
        munge += ["--pid-file", self._directory / "munged.pid", "--seed-file", self._directory / "munge" / "seed"]
        self._daemon("munged", *munge, "--log-file", log / "munged.log")
        eventually((run / "munge.socket").exists, "munge")
        self._daemon("slurmctld", "-f", self._configuration)
        eventually(lambda: "UP" in self._run("scontrol", "ping", check=False), "slurmctld")
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd; return when the node takes jobs."""
        self._daemon("slurmd", "-f", self._configuration)
        ready = re.compile(r"^(idle|mix|alloc)\w*$", re.MULTILINE)
        eventually(lambda: ready.search(self._run("sinfo", "-h", "-o", "%T", check=False)), "the node")

    def kill_node(self) -> None:
        """Kill slurmd as a crash would."""
        os.kill(self._pid("slurmd"), signal.SIGKILL)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        self._run("scancel", "--user", getpass.getuser(), check=False)
        done = lambda: not self._run("squeue", "-h", check=False).strip()  # noqa: E731
        try:
            eventually(done, "jobs to end", seconds=15)
        finally:
            for program in ("slurmd", "slurmctld", "munged"):
                self._end(program)

    def cancel(self, job: str, *options: str) -> None:
        """Cancel a job."""
        self._run("scancel", *options, job)

    def update(self, job: str, **values: str) -> None:
        """Change a job."""
        self._run("scontrol", "update", f"JobId={job}", *(f"{key}={value}" for key, value in values.items()))

    def jobs(self, directory: Path | None = None) -> list[dict[str, str]]:
        """Return SLURM's record of all jobs, or of those sent from ``directory``, in the order of their numbers.

        Each has what ``scontrol show job`` shows: JobId, JobState, Partition, TresPerJob, TimeLimit, Comment ...
        """
        lines = self._run("scontrol", "--oneliner", "show", "jobs").splitlines()
        records = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]
        records.sort(key=lambda record: int(record["JobId"]))
        return [record for record in records if directory is None or record["WorkDir"] == str(directory)]

    def log(self) -> str:
        """Return the last lines of the daemons' logs, for the message of a failed test."""
        texts = [path.read_text(errors="replace")[-1500:] for path in (self._directory / "log").glob("*.log")]
        return "\n".join(texts)

    def _run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def _daemon(self, program: str, *arguments: object) -> None:
        path = shutil.which(program, path=SEARCH)
        assert path
        done = subprocess.run([path, *map(str, arguments)], env=self.environment, text=True, capture_output=True)
        assert done.returncode == 0, f"{program}: {done.stderr}{self.log()}"

    def _pid(self, program: str) -> int:
        return int((self._directory / f"{program}.pid").read_text())

    def _end(self, program: str) -> None:
        """End a daemon by the number that it has written down, if that still is this daemon of this cluster."""
        try:
            pid = self._pid(program)
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self._directory).encode() not in command:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            eventually(lambda: not Path(f"/proc/{pid}").exists(), program, seconds=10)
        except AssertionError:
            os.kill(pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def environment_of(pid: int) -> Mapping[str, str]:
    """Return the environment that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


CONFIGURATION: Final = """\
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/run/munge.socket
CredType=cred/munge
StateSaveLocation={directory}/ctld
SlurmdSpoolDir={directory}/d
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd.log
# Without cgroups and without binding to cores: it has to run in a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=2
PriorityType=priority/basic
AccountingStorageType=accounting_storage/none
# A job is killed over its memory at the next look, every two seconds.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
# Finished jobs stay on record until the tests are done.
MinJobAge=7200
# Long enough to save a state in on a busy machine; a job that ends sooner is not waited for.
KillWait=120
OverTimeLimit=0
InactiveLimit=0
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=60
# The node has more cores and memory than the machine: jobs of the tests are small.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} Gres=gpu:{gpus} State=UNKNOWN
"""
