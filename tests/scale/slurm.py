"""A real Slurm of two one-core nodes on this machine."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_ports

# 40 steps of 20 ms an epoch: long enough to be warned in, with randomness that a resume could lose
FIT = (
    "fit",
    "--trainer.max_epochs=4",
    "--trainer.limit_train_batches=40",
    "--data.val_size=1000",
    "--data.batch_size=32",
    "--trainer.callbacks+=tests.faults.noise.Noise",
    "--trainer.callbacks+=tests.faults.noise.Slow",
    "--pictures=false",
)

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/%n
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd-%n.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
KillWait=10
ReturnToService=2
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The environment in which Slurm's commands find it."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or getpass.getuser() != "root":
        pytest.skip(f"needs root, and Debian's slurmctld, slurmd, slurm-client and munge: no {', '.join(missing)}")
    here = tmp_path_factory.mktemp("slurm")
    (here / "state").mkdir()
    conf = here / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname(), here=here, ports=free_ports(3)))
    environment = {"SLURM_CONF": str(conf), "PATH": os.environ["PATH"]}
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        Path("/run/munge").chmod(0o755)
        subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "munged"], check=True, timeout=30)
    started = [["slurmctld", "-D"], ["slurmd", "-D", "-N", "n0"], ["slurmd", "-D", "-N", "n1"]]
    with (here / "log").open("w") as log:
        daemons = [
            subprocess.Popen(each, env=environment, stdout=log, stderr=log, start_new_session=True) for each in started
        ]
    try:
        slurm = Slurm(environment)
        slurm.until(lambda: slurm.ask("sinfo", "-h", "-o", "%D %t") == "2 idle", limit_s=60)
        yield slurm
    finally:
        subprocess.run(["scancel", "--signal=KILL", "--user=root"], env=environment, timeout=30)
        for each in reversed(daemons):
            each.send_signal(signal.SIGTERM)
        for each in daemons:
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                each.kill()


@dataclass
class Slurm:
    environment: dict

    def ask(self, *command, environment=None):
        passed = (environment or {}) | self.environment
        done = subprocess.run(command, env=passed, capture_output=True, text=True, timeout=30)
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    def until(self, what, limit_s=120):
        end = time.monotonic() + limit_s
        while not what():
            assert time.monotonic() < end, f"not within {limit_s} s"
            time.sleep(0.1)


@pytest.fixture
def slurm(cluster, on_fakes, tmp_path):
    """Submit `srun python -m lenet_lightning ARGS` in the test's folder, which has the fakes for MNIST."""
    jobs = []

    def submit(*args, options=(), environment=None):
        passed = on_fakes | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"} | (environment or {})
        command = f"srun {sys.executable} -m lenet_lightning {' '.join(args)}"
        (tmp_path / "job.sh").write_text(f"#!/bin/sh\n{command}\n")
        output = ("--output=out-%a", "--error=err-%a", "--open-mode=append", f"--chdir={tmp_path}")
        submitted = cluster.ask("sbatch", "--parsable", *output, *options, str(tmp_path / "job.sh"), environment=passed)
        job = Job(cluster, submitted, tmp_path)
        jobs.append(job)
        return job

    yield submit
    for job in jobs:
        subprocess.run(["scancel", "--signal=KILL", job.id], env=cluster.environment, timeout=30, capture_output=True)
        subprocess.run(["scancel", job.id], env=cluster.environment, timeout=30, capture_output=True)


@dataclass
class Job:
    slurm: Slurm
    id: str
    folder: Path

    def state(self):
        return self.slurm.ask("squeue", "-h", "--states=all", "-j", self.id, "-o", "%T")

    def printed(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("out-*")))

    def complained(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("err-*")))

    def until_printed(self, text, times=1):
        self.slurm.until(lambda: self.printed().count(text) >= times)

    def warn(self):
        """What `--signal=USR1@90` does, 90 seconds before the job's end."""
        self.slurm.ask("scancel", "--signal=USR1", self.id)

    def start_again(self):
        """Once it is requeued, do not wait the two minutes that Slurm would."""
        self.slurm.until(lambda: self.state() == "PENDING")
        time.sleep(2)  # Slurm refuses a start in the second of the end: "Job credential revoked"
        self.slurm.ask("scontrol", "update", f"JobId={self.id}", "StartTime=now")

    def wait(self, state="COMPLETED", limit_s=180):
        ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        self.slurm.until(lambda: set(self.state().split()) <= ended, limit_s)
        print(self.printed(), self.complained())  # shown when a test fails
        assert set(self.state().split()) == {state}
