"""The real wandb client: without an account, and online against a stand-in of the server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb
import yaml

from lenet_lightning.data import files
from lenet_lightning.training.loggers.wandb import WandbLogger
from tests.evaluation.test_pictures import NAMES as PICTURES
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
QUICK = ("--trainer.limit_train_batches=3", "--trainer.max_epochs=2")
METRICS = [
    "train/loss",
    "train/acc",
    "train/grad_norm",
    "val/loss",
    "val/acc",
    "lr",
    "time/epoch_s",
    "time/images_per_s",
    "test/loss",
    "test/acc",
    *(f"test/acc/{digit}" for digit in range(10)),
    "test/calibration_error",
    "test/rejected_for_error_0.01",
    "test/rejected_for_error_0.005",
    "test/rejected_for_error_0.001",
]


pytestmark = pytest.mark.wandb


@pytest.fixture(autouse=True)
def fresh_client():
    """The client reads the environment once in a process."""
    wandb.teardown()
    before = dict(os.environ)
    yield
    wandb.teardown()
    os.environ.clear()
    os.environ.update(before)


def the_run():
    (run,) = (path for path in Path("runs").iterdir() if not path.is_symlink())
    return run


def inspect(folder):
    """What `wandb leet` shows of a run, as JSON."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def keys(tree, prefix=""):
    """The dotted names of everything in nested dicts."""
    for name, value in tree.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


def test_what_is_printed_for_pasting_is_pasted_as_it_is_whatever_the_folder_is_called(command):
    code, out, _ = command("fit", *QUICK, "--trainer.default_root_dir=my runs; #1 $HOME")
    assert code == 0
    lines = [
        line.split("   ")[-1].strip() for line in out.splitlines() if line.startswith(("look at it", "send to W&B"))
    ]
    look, send = (line.replace("look at it", "").replace("send to W&B", "").strip() for line in lines)
    shown = subprocess.run(
        look.replace("python -m", f"{sys.executable} -m"), shell=True, capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    assert "to see it on W&B" in shown.stdout
    (sync,) = (line.partition("&& ")[2] for line in shown.stdout.splitlines() if line.startswith("to see it on W&B"))
    for line in (send.partition("&& ")[2], sync):
        found = subprocess.run(
            line.replace("wandb sync", "ls -d"), shell=True, capture_output=True, text=True, timeout=60, check=True
        )
        assert len(found.stdout.splitlines()) == 1
        assert Path(found.stdout.strip()).parent.name == "wandb"


def test_an_offline_run_holds_everything(command, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    monkeypatch.setenv("WANDB_TAGS", "one,two")
    monkeypatch.setenv("WANDB_NAME", "my run")
    code, out, err = command("fit", *QUICK)
    assert (code, err) == (0, "")
    (offline,) = (the_run() / "wandb").glob("offline-run-*")
    assert "dashboard" in out
    assert "wandb login && wandb sync" in out

    seen = inspect(offline)
    assert seen["config"]["model"] == yaml.safe_load((the_run() / "config.yaml").read_text())["model"]
    wanted = {"seed_everything", "data.split_seed", "trainer.max_epochs", "model.optimizer.init_args.weight_decay"}
    made_with = {
        "seed",
        "versions.torch",
        "threads",
        "processor",
        "git_commit",
        "git_clean",
        "parameters",
        "data_sha256",
    }
    assert wanted | {f"made_with.{name}" for name in made_with} <= set(keys(seen["config"]))
    summary = set(keys(seen["summary"]))
    assert set(METRICS) <= summary | {name.rsplit(".", 1)[0] for name in summary}
    assert not any("pictures" in name for name in summary)  # rows of sizes and sums
    media = {path.name for path in (offline / "files" / "media" / "images" / "pictures").iterdir()}
    assert all(any(name.startswith(f"{picture}_") for name in media) for picture in PICTURES)
    assert {"val/acc.max", "val/acc.last", "val/loss.min", "val/loss.last"} <= summary
    assert not any("nrows" in name for name in summary)  # what a table would leave on the dashboard
    for value in ("digits", "one", "two", "my run"):
        assert value in json.dumps(seen)
    assert {path.stem for path in (the_run() / "pictures").iterdir()} == PICTURES


def test_what_differs_from_the_commit_is_kept(command, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    Path("mine.py").write_text("rate = 1\n")
    for each in (["init"], ["add", "mine.py"], ["commit", "-m", "first"]):
        subprocess.run([*git, *each], check=True, capture_output=True)
    Path("mine.py").write_text("rate = 2\n")
    assert command("fit", *QUICK, "--pictures=false")[0] == 0
    (patch,) = the_run().glob("wandb/offline-run-*/files/diff.patch")
    assert "+rate = 2" in patch.read_text()


def test_pictures_can_be_switched_off(command, quick):
    options = ("--trainer.max_epochs=1", "--trainer.limit_test_batches=1.0", "--pictures=false")
    assert command("fit", *quick, *options)[0] == 0
    assert (the_run() / "results.json").exists()
    assert not (the_run() / "pictures").exists()


def test_disabled_leaves_no_files_and_no_lines(command, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    code, out, err = command("fit", *QUICK, "--pictures=false")
    assert (code, err) == (0, "")
    assert "wandb" not in out
    assert not (the_run() / "wandb").exists()


def test_a_malformed_key_is_never_printed_and_no_obstacle(command, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret-but-short")
    code, out, err = command("fit", *QUICK, "--pictures=false")
    assert code == 0
    assert "malformed" in err
    assert "secret" not in out + err
    assert list((the_run() / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize("offline", ["offline", "dryrun"])
def test_a_mode_that_is_asked_for_is_taken(command, monkeypatch, offline):
    monkeypatch.setenv("WANDB_MODE", offline)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert command("fit", *QUICK, "--pictures=false")[0] == 0
    assert list((the_run() / "wandb").glob("offline-run-*"))


@pytest.fixture
def silent_port():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_a_key_without_a_network_costs_seconds_and_no_run(command, monkeypatch, silent_port):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent_port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    started = time.monotonic()
    code, _, err = command("fit", *QUICK, "--pictures=false")
    waited = time.monotonic() - started
    assert code == 0
    assert "kept offline" in err
    assert "0" * 40 not in err
    assert waited < 20 + 10  # at most 20 for the server; the run itself takes some seconds
    assert list((the_run() / "wandb").glob("offline-run-*"))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The stand-in, started; its folder."""
    (port,) = free_ports(1)
    folder = tmp_path / "server"
    script = ROOT / "tests" / "wandb_loopback.py"
    process = subprocess.Popen([sys.executable, str(script), str(port), str(folder)])
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield folder, process
    process.kill()
    process.wait()


def streamed(folder, file):
    """Every JSON line of a file that the client streamed to the server."""
    lines = []
    for line in (folder / "file_stream.jsonl").read_text().splitlines():
        content = (json.loads(line).get("files") or {}).get(file, {}).get("content", [])
        lines += [json.loads(row) for row in content]
    return lines


def streamed_lines(folder, file):
    """Every line of a text file that the client streamed to the server."""
    sent = [json.loads(line).get("files") or {} for line in (folder / "file_stream.jsonl").read_text().splitlines()]
    return [line for each in sent for line in each.get(file, {}).get("content", [])]


def history(folder):
    return streamed(folder, "wandb-history.jsonl")


def assert_delivered(folder, epochs):
    rows, summary = history(folder), streamed(folder, "wandb-summary.json")[-1]
    for metric in METRICS:
        if metric.startswith("test/"):
            assert metric in summary
        else:
            assert sum(metric in row for row in rows) == epochs, metric
    assert {f"pictures/{name}" for name in PICTURES} <= set().union(*rows)
    uploads = [path.name for path in (folder / "uploads").rglob("*.png")]
    assert all(any(name.startswith(picture) for name in uploads) for picture in PICTURES)


def test_online_the_server_gets_everything(command, server):
    folder, _ = server
    code, out, err = command("fit", *QUICK)
    assert (code, "W&B:" in err) == (0, False)
    assert_delivered(folder, epochs=2)
    config = json.loads(json.loads((folder / "run.json").read_text())["config"])
    for part, value in yaml.safe_load((the_run() / "config.yaml").read_text()).items():
        assert config[part]["value"] == value
    assert "test/errors" in set().union(*history(folder))
    log = (folder / "requests.log").read_text()
    assert "CommitArtifact" in log
    assert {"best.ckpt", "weights.safetensors"} <= {path.name for path in (folder / "uploads").rglob("*")}
    (created,) = [line for line in log.splitlines() if line.startswith("CreateArtifact ") and '"model"' in line]
    assert '"best"' in created
    assert '"seed-1"' in created
    # the data set is the run's input, by its sums
    assert [line for line in log.splitlines() if line.startswith("CreateArtifact ") and '"dataset"' in line]
    assert "UseArtifact" in log
    (sums,) = [path.read_text() for path in (folder / "uploads").rglob("SHA256SUMS")]
    assert sums == "".join(f"{file.sha256}  {file.name}\n" for file in files.FILES)
    assert "W&B" in out
    assert not [path for path in Path("home").rglob("*") if "wandb" in path.name]
    assert not (the_run() / "wandb" / "cache").exists()  # copies of what was sent


def test_a_resumed_run_goes_on_under_the_same_id(command, server):
    folder, _ = server
    options = (
        "--pictures=false",
        "--model.schedule=constant",
        "--data.distortion.end=1",
        "--trainer.limit_train_batches=3",
    )
    assert command("fit", *options, "--trainer.max_epochs=1")[0] == 0
    first = json.loads((folder / "run.json").read_text())["name"]
    wandb.teardown()
    assert command("fit", "--ckpt_path=last", "--trainer.max_epochs=2")[0] == 0
    assert json.loads((folder / "run.json").read_text())["name"] == first
    assert {row["epoch"] for row in history(folder) if "train/loss" in row} == {1, 2}


def test_a_test_of_its_own_is_in_the_run_that_it_judges(command, server):
    folder, _ = server
    assert command("fit", *QUICK, "--pictures=false", "--trainer.limit_test_batches=0")[0] == 0
    first = json.loads((folder / "run.json").read_text())["name"]
    assert "test/acc" not in streamed(folder, "wandb-summary.json")[-1]
    wandb.teardown()
    assert command("test", "--ckpt_path=best")[0] == 0
    assert json.loads((folder / "run.json").read_text())["name"] == first
    results = json.loads((the_run() / "results.json").read_text())
    assert streamed(folder, "wandb-summary.json")[-1]["test/acc"] == results["test/acc"]


LONG = ("fit", "--trainer.max_epochs=8", "--trainer.limit_train_batches=20", "--pictures=false")


def read_until(run, start):
    """Read a process's lines until one begins with `start`."""
    for line in run.stdout:
        if line.startswith(start):
            return
    pytest.fail(f"no line began with {start!r}")


def test_what_the_terminal_shows_is_the_log_of_the_run(server, process):
    folder, _ = server
    run = process("fit", *QUICK, "--pictures=false", environment={"WANDB_MODE": "online"})
    assert run.communicate(timeout=90)[1] == ""
    lines = "".join(streamed_lines(folder, "output.log"))
    assert all(f"epoch {epoch}/2 " in lines for epoch in (1, 2))


def assert_whole_with_one_warning(run, folder):
    _, err = run.communicate(timeout=90)
    print(err)
    assert run.returncode == 0
    assert "Traceback" not in err
    assert sum(line.startswith("W&B:") for line in err.splitlines()) == 1
    (csv,) = folder.glob("runs/2*/metrics.csv")
    assert len(csv.read_text().splitlines()) == 1 + 8
    assert (csv.parent / "results.json").exists()


def test_the_server_dying_in_mid_run_costs_nothing_but_a_warning(server, process, tmp_path):
    _, stand_in = server
    run = process(*LONG, environment={"WANDB_MODE": "online"})
    read_until(run, "epoch 2/8")
    stand_in.kill()
    assert_whole_with_one_warning(run, tmp_path)


def test_the_client_killed_in_mid_run_costs_nothing_but_a_warning(process, tmp_path):
    run = process(*LONG, environment={"WANDB_MODE": "offline"})
    read_until(run, "epoch 2/8")
    children = clients(run.pid)
    assert children
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert_whole_with_one_warning(run, tmp_path)


def is_client(stat, parent):
    try:
        name, rest = stat.read_text().rsplit(")", 1)
    except OSError:
        return False
    return "wandb-core" in name and int(rest.split()[1]) == parent


# what the client accepts in no variable, and what ends it in spite of that
INVALID = {
    "WANDB_PROJECT": "a/b",
    "WANDB_TAGS": "a,,b",
    "WANDB_CONSOLE": "loud",
    "WANDB_BASE_URL": "nonsense",
    "WANDB_API_KEY": "0" * 40 + "\n",
    "WANDB_INIT_TIMEOUT": "soon",
    "WANDB__SERVICE_WAIT": "-1",
    "WANDB_HTTP_TIMEOUT": "x",
    "WANDB_RESUME": "perhaps",
    "WANDB_RUN_ID": "a/b",
    "WANDB_SWEEP_ID": " ",
    "WANDB_FORK_FROM": "nothing",
    "WANDB_SILENT": "rather",
    "WANDB_DISABLE_GIT": "rather",
    "WANDB_LAUNCH": "soon",
    "WANDB_JOB_SOURCE": "nowhere",
    "WANDB_X_STATS_SAMPLING_INTERVAL": "0",
    "WANDB_X_STATS_GPU_DEVICE_IDS": "{",
    "WANDB_CAPTURE_LOGGERS": "all",
}


@pytest.mark.parametrize(
    ("name", "value"), [*INVALID.items(), ("WANDB_PROJECT", "x" * 2000), ("WANDB_TAGS", "\x1b[2J" * 100)]
)
def test_an_invalid_variable_is_ignored_with_a_line(name, value, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(name, value)
    WandbLogger(str(tmp_path))
    assert os.environ.get(name) != value
    err = capsys.readouterr().err
    assert err.startswith(f"W&B: {name} is invalid and ignored: ")
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
    assert len(err) < 400
    assert "0" * 40 not in err


def test_a_project_that_cannot_be_is_refused_where_it_is_typed(command, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(
        "trainer:\n  logger:\n    class_path: lenet_lightning.training.loggers.wandb.WandbLogger\n"
        "    init_args:\n      project: a/b\n"
    )
    code, _, err = command("fit", "--config", config, *QUICK)
    assert code == 2
    assert "Invalid project name 'a/b'" in err
    assert not list(Path("runs").iterdir())


SHORT = ("fit", "--trainer.max_epochs=1", "--trainer.limit_train_batches=3", "--pictures=false")


def end(run, folder, epochs=1):
    """Wait for a process; its folder and its lines on stderr, once it is whole and none of its own is left."""
    _, err = run.communicate(timeout=90)
    print(err)
    assert run.returncode == 0
    (csv,) = folder.glob("runs/2*/metrics.csv")
    assert len(csv.read_text().splitlines()) == 1 + epochs
    assert (csv.parent / "results.json").exists()
    return csv.parent, err.splitlines()


def test_invalid_variables_leave_the_rest_of_wandb_as_it_was(process, tmp_path):
    valid = {"WANDB_MODE": "offline", "WANDB_NAME": "my run", "WANDB_X_FILES_DIR": str(tmp_path / "elsewhere")}
    folder, lines = end(process(*SHORT, environment=INVALID | valid), tmp_path)
    assert {line.split()[1] for line in lines} == set(INVALID)
    assert len(lines) == len(INVALID)
    (offline,) = (folder / "wandb").glob("offline-run-*")
    seen = json.dumps(inspect(offline))
    assert "my run" in seen
    assert "lenet_lightning" in seen
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("name", "value"), [("WANDB_RUN_ID", "x" * 300), ("WANDB_SWEEP_PARAM_PATH", "/nowhere")])
def test_a_client_that_cannot_begin_costs_a_line(process, tmp_path, name, value):
    _, lines = end(process(*SHORT, environment={"WANDB_MODE": "offline", name: value}), tmp_path)
    assert len(lines) == 1
    assert lines[0].startswith("W&B: the client failed (")
    assert lines[0].endswith("metrics.csv has everything")


@pytest.mark.parametrize("service", ["3-1-unix-{}/gone", "2-1-tcp-localhost-1", "3-1-tcp-localhost-{}"])
def test_the_service_of_another_process_is_left_alone(process, tmp_path, service, silent_port):
    named = service.format(tmp_path if "unix" in service else silent_port)
    folder, lines = end(process(*SHORT, environment={"WANDB_MODE": "offline", "WANDB_SERVICE": named}), tmp_path)
    assert not lines
    assert list((folder / "wandb").glob("offline-run-*"))


def test_a_broken_settings_file_of_the_users_costs_a_line(process, tmp_path):
    (tmp_path / "settings").write_text("[default]\nproject = a/b\n")
    environment = {"WANDB_MODE": "offline", "WANDB_CONFIG_DIR": str(tmp_path)}
    folder, (line,) = end(process(*SHORT, environment=environment), tmp_path)
    assert str(tmp_path / "settings") in line
    assert list((folder / "wandb").glob("offline-run-*"))


def test_what_the_server_writes_is_one_printable_line(server, process, tmp_path):
    folder, _ = server
    (folder / "refuse").write_text("no\x1b[2J\nsuch " + "x" * 1000)
    folder, (line,) = end(process(*SHORT, environment={"WANDB_MODE": "online"}), tmp_path)
    assert line.startswith("W&B: ")
    assert line.endswith("this run is kept offline")
    assert line.isprintable()
    assert len(line) < 400
    assert list((folder / "wandb").glob("offline-run-*"))


def clients(parent):
    """The client's processes of a process."""
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if is_client(stat, parent)]


def running(pid):
    """Whether a process is there, other than as what its parent has yet to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# a run whose client stops; the socket takes some 200 kB before a call blocks
STOPPED = """
import os, signal, sys
from lenet_lightning.training.loggers import wandb
from tests.training.test_wandb import clients
logger = wandb.WandbLogger(sys.argv[1])
logger.log_metrics({"val/acc": 0.5}, step=1)
(client,) = clients(os.getpid())
print(client, flush=True)
os.kill(client, signal.SIGSTOP)
wandb.client.CALL_S = 1
for step in range(int(sys.argv[2])):
    logger.log_metrics({"x" * 100_000: 0.5}, step=step)
logger.close(failed=False)
logger.experiment.log({"by": "a callback"})
"""


@pytest.mark.parametrize("rows", [0, 100])
def test_a_client_that_hangs_is_ended(on_fakes, tmp_path, rows):
    command_line = [sys.executable, "-c", STOPPED, str(tmp_path), str(rows)]
    environment = on_fakes | {"WANDB_MODE": "offline"}
    done = subprocess.run(
        command_line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    print(done.stderr)
    assert not running(int(done.stdout))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("W&B: the client failed (no answer in 1 s)")


def test_sigterm_leaves_no_hanging_client_behind(process, tmp_path):
    run = process(*LONG, environment={"WANDB_MODE": "offline"})
    read_until(run, "epoch 2/8")
    (client,) = clients(run.pid)
    os.kill(client, signal.SIGSTOP)
    started = time.monotonic()
    run.terminate()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 143
    assert time.monotonic() - started < 10
    assert not running(client)
    assert sum(line.startswith("W&B:") for line in err.splitlines()) == 1


def test_a_full_disk_under_wandbs_folder_costs_no_run(command, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = (
        "--pictures=false",
        "--model.schedule=constant",
        "--data.distortion.end=1",
        "--trainer.limit_train_batches=3",
    )
    assert command("fit", *options, "--trainer.max_epochs=1")[0] == 0
    wandb.teardown()
    full = the_run() / "wandb"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)], check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        (full / "filler").write_bytes(b"\0" * 4096)
        code, _, err = command("fit", "--ckpt_path=last", "--trainer.max_epochs=3")
        wandb.teardown()
    finally:
        subprocess.run(["umount", "-l", str(full)], check=True)
    assert code == 0
    assert "W&B:" in err
    assert len((the_run() / "metrics.csv").read_text().splitlines()) == 1 + 3


def test_sync_of_an_offline_run_delivers_the_same(command, server, monkeypatch):
    folder, _ = server
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert command("fit", *QUICK)[0] == 0
    (offline,) = (the_run() / "wandb").glob("offline-run-*")
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    command_line = [sys.executable, "-m", "wandb", "sync", str(offline)]
    subprocess.run(command_line, env=environment, timeout=60, check=True, capture_output=True)
    assert_delivered(folder, epochs=2)


def test_an_agent_runs_the_trials_of_the_sweep(server, on_fakes, tmp_path):
    folder, _ = server
    trials = [
        {"model.optimizer.lr": 0.004, "averaging": 0},
        {"model.optimizer.lr": 0.02, "averaging": 0.99},
    ]
    (folder / "trials.json").write_text(json.dumps(trials))
    sweep = yaml.safe_load((ROOT / "configs" / "sweep.yaml").read_text())
    assert {name for trial in trials for name in trial} <= sweep["parameters"].keys()
    sweep["command"] += [
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2",
    ]  # the agent's arguments, cut short
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    environment = on_fakes | {
        "WANDB_MODE": "online",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "agent", "tester/lenet_lightning/sweep1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    runs = sorted(path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    tried = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert [
        {
            "model.optimizer.lr": config["model"]["optimizer"]["init_args"]["lr"],
            "averaging": config["averaging"],
        }
        for config in tried
    ] == trials
    assert not any((run / "results.json").exists() for run in runs)  # no trial opens the test set
    assert sum("val/acc" in row for row in history(folder)) == 2
