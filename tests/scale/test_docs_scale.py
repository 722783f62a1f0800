"""What docs/scale/ tells people to type runs, in two processes of this machine."""

import json
import os
import re
import subprocess
import sys
import textwrap

import pytest
import yaml

from lenet_lightning.__main__ import main
from tests.faults.conftest import ROOT, rows, the_run
from tests.faults.test_processes import end_session
from tests.ports import free_ports
from tests.training.conftest import on_fakes  # noqa: F401

HERE = ROOT / "docs" / "scale"
SHORT = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=6",
    "--trainer.limit_test_batches=0",
    "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV",
    "--data.val_size=1000",
    "--pictures=false",
)


@pytest.fixture
def environment(on_fakes, tmp_path):  # noqa: F811
    """That of a checkout with its .venv, in `tmp_path`."""
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return on_fakes | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}


def ran_together(folder, *begun):
    """Start each (command, environment), each in a session of its own; their stdout, once all have ended with 0."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    running = [subprocess.Popen(list(map(str, each)), cwd=folder, env=env, **pipes) for each, env in begun]
    try:
        outputs = [each.communicate(timeout=100)[0] for each in running]
    finally:
        for each in running:
            end_session(each.pid)
    print(*outputs)
    assert [each.returncode for each in running] == [0] * len(running)
    return outputs


def assert_one_run_of_two(folder, outputs):
    """Two processes trained together: one folder, one line an epoch, as many samples a step as one process has."""
    assert sum(line.startswith("epoch") for output in outputs for line in output.splitlines()) == 1
    run = the_run(folder)
    (row,) = rows(run)
    assert float(row["train/acc"]) * 6 * 256 == pytest.approx(round(float(row["train/acc"]) * 6 * 256), abs=0.01)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["batch_size"] == 128
    assert config["trainer"]["num_nodes"] * int(config["trainer"]["devices"]) == 2


@pytest.mark.scale
@pytest.mark.parametrize(("machines", "processes"), [(2, 1), (1, 2)])
def test_torchrun_trains_one_run(machines, processes, environment, tmp_path):
    (port,) = free_ports(1)
    environment |= {"MACHINES": str(machines), "PROCESSES": str(processes), "PORT": str(port)}
    commands = [[HERE / "torchrun.sh", number, "127.0.0.1", *SHORT] for number in range(machines)]
    assert_one_run_of_two(tmp_path, ran_together(tmp_path, *((each, environment) for each in commands)))


def pods():
    """Each pod's container, its environment as the operator sets it: a list of (container, variables)."""
    replicas = yaml.safe_load((HERE / "pytorchjob.yaml").read_text())["spec"]["pytorchReplicaSpecs"]
    found = [kind for name in ("Master", "Worker") for kind in [replicas[name]] * replicas[name]["replicas"]]
    (port,) = free_ports(1)
    for rank, kind in enumerate(found):
        (container,) = kind["template"]["spec"]["containers"]
        given = {each["name"]: each["value"] for each in container["env"]}
        sets = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(len(found))}
        yield container, given | sets


@pytest.mark.scale
def test_the_pods_of_a_pytorchjob_train_one_run(environment, tmp_path):
    begun = []
    for container, variables in pods():
        program, *options = container["command"]
        assert (program, container["name"]) == ("lenet_lightning", "pytorch")
        begun.append(([sys.executable, "-m", program, *options, *SHORT], environment | variables))
    assert len(begun) == 2
    assert_one_run_of_two(tmp_path, ran_together(tmp_path, *begun))


@pytest.mark.scale
def test_slurm_passes_options_that_fit_knows(capsys):
    # what srun would start
    lines = f'srun() {{ printf "%s\\n" "$@"; }}; set -- --trainer.max_epochs 3; . {HERE / "slurm.sh"}'
    job = {"SLURM_CPUS_PER_TASK": "1", "SLURM_ARRAY_TASK_ID": "4", "SLURM_NTASKS": "2", "SLURM_JOB_NUM_NODES": "1"}
    variables = os.environ | job | {"SLURM_NTASKS_PER_NODE": "2"}
    done = subprocess.run(["bash", "-euc", lines], env=variables, cwd=ROOT, capture_output=True, text=True, check=True)
    words = done.stdout.split()
    with pytest.raises(SystemExit) as end:
        main([*words[words.index("fit") :], "--print_config"])
    assert end.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["seed_everything"], config["data"]["batch_size"], int(config["trainer"]["devices"])) == (4, 128, 2)
    assert config["trainer"]["max_epochs"] == 3


@pytest.mark.scale
def test_two_machines_search_together_without_wandb(environment, tmp_path):
    command = [sys.executable, HERE / "sweep.py", 2, *SHORT]
    outputs = ran_together(tmp_path, (command, environment), (command, environment))

    journal = [json.loads(line) for line in (tmp_path / "runs" / "sweep.log").read_text().splitlines()]
    values = [value for line in journal for value in line.get("values") or ()]
    trials = sorted((tmp_path / "runs" / "sweep").iterdir())
    assert len(values) == len(trials) >= 2
    found = []
    parameters = yaml.safe_load((ROOT / "configs" / "sweep.yaml").read_text())["parameters"]
    for trial in trials:
        (run,) = (path for path in trial.iterdir() if not path.is_symlink())
        found.append(float(rows(run)[0]["val/acc"]))
        assert not (run / "results.json").exists()  # no trial opens the test set
        rate = yaml.safe_load((run / "config.yaml").read_text())["model"]["optimizer"]["init_args"]["lr"]
        assert parameters["model.optimizer.lr"]["min"] <= rate <= parameters["model.optimizer.lr"]["max"]
    assert sorted(found) == sorted(values)
    # the last to stop printed all of them, best first; with as many as were asked for, nothing is trained anew
    (again,) = ran_together(tmp_path, (command, environment))
    header, *lines = again.splitlines()[-len(values) - 1 :]
    assert set(header.split()) == {"number", "val/acc", *parameters}
    assert [float(line.split()[1]) for line in lines] == pytest.approx(sorted(values, reverse=True), abs=1e-4)
    assert "Trial" in "".join(outputs)
    assert sorted((tmp_path / "runs" / "sweep").iterdir()) == trials


def test_the_document_names_every_file_and_has_the_lines_that_run():
    document = (ROOT / "docs" / "scale.md").read_text()
    assert set(re.findall(r"docs/scale/([\w.]+)", document)) >= {path.name for path in HERE.glob("*.*")}
    (lines,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    assert textwrap.indent(lines, "    ") in (HERE / "ray_predict.py").read_text()
