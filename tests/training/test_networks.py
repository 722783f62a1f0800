"""What a user does with a trained network, with each of the three."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lenet_lightning import Recognizer, weights
from lenet_lightning.__main__ import main
from lenet_lightning.networks import NETWORKS
from tests.training.test_cli import CONFIGS, TESTED, the_runs

CONFIG = {"lenet5": "default", "lenet5_1998": "lenet5_1998", "lenet1": "lenet1"}
PIXELS = {name: (network.MEAN, network.STD) for name, network in NETWORKS.items()}
SHORT = (
    "--data.batch_size=64",
    "--trainer.limit_train_batches=6",
    "--model.compile=false",  # half a minute each; test_one_by_one holds the compiled step to this one
    "--trainer.logger=lenet_lightning.training.loggers.metrics_csv.MetricsCSV",
)
SCHEDULE = {"lenet5": "constant", "lenet5_1998": "paper", "lenet1": "paper"}


@pytest.fixture(params=NETWORKS)
def network(request):
    return request.param


@pytest.fixture
def train(command, network):
    def run(*options):
        code, out, err = command(
            "fit",
            "--config",
            CONFIGS / f"{CONFIG[network]}.yaml",
            *SHORT,
            f"--model.schedule={SCHEDULE[network]}",
            *options,
        )
        assert (code, err) == (0, "")
        return out

    return run


@pytest.mark.faults  # seconds each
def test_fit_predict_export_and_pictures(train, network, tmp_path, capfd):
    validated = network == "lenet5"
    out = train(TESTED, "--trainer.max_epochs=2")
    (run,) = the_runs()
    parameters = {"lenet5": "61,706", "lenet5_1998": "60,000", "lenet1": "2,578"}[network]
    assert out.startswith(f"{NETWORKS[network].__name__}, {parameters} parameters")
    assert str(run / ("best.ckpt" if validated else "last.ckpt")) in out
    assert ("there is no best" in out) != validated
    assert (run / "best.ckpt").exists() == validated
    assert len(list((run / "pictures").glob("*.png"))) == 9
    results = json.loads((run / "results.json").read_text())
    assert results["network"] == network
    assert (results["mean"], results["std"]) == pytest.approx(PIXELS[network])
    assert ("best_epoch" in results, "last_epoch" in results) == (validated, not validated)
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert ("val/acc" in rows[0]) == validated

    capfd.readouterr()
    Image.fromarray(np.pad(np.full((40, 8), 255, np.uint8), 30)).save("one.png")
    assert main(["predict", "one.png", "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["digit"] in range(10)

    images = torch.randint(0, 256, (50, 28, 28), dtype=torch.uint8).numpy()
    expected = Recognizer(run / "weights.safetensors").logits(images)
    for kind in ("pth", "safetensors", "onnx"):
        assert main(["export", "--format", kind]) == 0
        written = Recognizer(f"{network}.{kind}")
        np.testing.assert_allclose(written.logits(images), expected, rtol=1e-6, atol=1e-4)
        assert written.metadata["network"] == network
    checkpoint = Recognizer(run / "last.ckpt")
    assert (checkpoint.metadata["mean"], checkpoint.metadata["std"]) == pytest.approx(PIXELS[network])


def test_a_run_normalises_as_its_network_and_records_how(command):
    options = (*SHORT, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_test_batches=0")
    for name, expected in (("lenet1", (20 / 255, 200 / 255)), ("default", (0.1307, 0.3081))):
        code, _, err = command("fit", "--config", CONFIGS / f"{name}.yaml", *options)
        assert (code, err) == (0, "")
        run = Path("runs/latest").resolve()
        data = yaml.safe_load((run / "config.yaml").read_text())["data"]
        assert (data["mean"], data["std"]) == expected
        kept = torch.load(run / "last.ckpt", weights_only=True)["datamodule_hyper_parameters"]
        assert (kept["mean"], kept["std"]) == expected


@pytest.mark.faults
def test_a_resumed_run_ends_as_one_that_went_through(train, network, command):
    options = ("--trainer.limit_test_batches=0", "--data.distortion.end=1")
    train(*options, "--trainer.max_epochs=3")
    train(*options, "--trainer.max_epochs=1")
    straight, resumed = the_runs()
    options = ("--trainer.max_epochs=3", "--ckpt_path", resumed / "last.ckpt")
    code, _, err = command("fit", *options)
    assert (code, err) == (0, "")
    files = [(run / "weights.safetensors").read_bytes() for run in (straight, resumed)]
    assert files[0] == files[1]
    states = [torch.load(run / "last.ckpt", weights_only=True)["optimizer_states"] for run in (straight, resumed)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.faults
def test_a_resumed_run_of_compiled_steps_ends_as_one_that_went_through(process, tmp_path):
    """In processes of their own, as a run that was stopped: what is compiled again is the same."""
    options = ("--config", CONFIGS / "lenet1.yaml", *SHORT, "--model.compile=true", "--trainer.limit_test_batches=0")

    def run(*more):
        begun = process("fit", *map(str, options), *map(str, more))
        _, err = begun.communicate(timeout=110)
        assert (begun.returncode, err) == (0, "")

    run("--trainer.max_epochs=2", "--trainer.default_root_dir=straight")
    run("--trainer.max_epochs=1", "--trainer.default_root_dir=resumed")
    run("--trainer.max_epochs=2", "--trainer.default_root_dir=resumed", "--ckpt_path=last")
    files = [next(tmp_path.glob(f"{name}/2*/weights.safetensors")).read_bytes() for name in ("straight", "resumed")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--trainer.devices=2", "trainer.devices x num_nodes must be 1 with model.optimizer SDLM, got 2"),
        ("--trainer.gradient_clip_val=1", "trainer.gradient_clip_val must be None with model.optimizer SDLM, got 1"),
        ("--trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches must be 1 with model.optimizer SDLM"),
    ],
)
def test_what_steps_one_by_one_cannot_have_is_refused(command, option, said):
    code, out, err = command("fit", "--config", CONFIGS / "lenet1.yaml", *SHORT, "--trainer.accelerator=cpu", option)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
    assert not the_runs()


def test_a_form_of_the_tutorials_is_for_its_network_alone(command, tmp_path, capfd):
    weights.write(
        NETWORKS["lenet1"]().state_dict(), weights.metadata_of("lenet1", *PIXELS["lenet1"]), tmp_path / "w.safetensors"
    )
    assert main(["export", "--format", "pth", "--form", "v1", "--weights", "w.safetensors"]) == 2
    assert "only lenet5 has forms" in capfd.readouterr().err
    assert not Path("lenet1.pth").exists()


def test_where_nothing_was_validated_the_last_checkpoint_counts(command, quick):
    options = (*quick, TESTED, "--trainer.max_epochs=2", "--data.val_size=0")
    code, out, err = command("fit", *options)
    assert (code, err) == (0, "")
    (run,) = the_runs()
    said = next(line for line in out.splitlines() if line.startswith("test accuracy"))
    assert f"{run / 'last.ckpt'} (nothing was validated, so there is no best)" in said
    code, out, err = command("test", TESTED)
    assert (code, err) == (0, "")
    assert said in out
    code, _, err = command("validate")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "data.val_size is 0" in err
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1


@pytest.mark.faults
def test_without_a_compiler_a_compiled_step_is_refused(process, quick, tmp_path):
    if os.name != "posix":
        pytest.skip("torch looks for compilers elsewhere there")
    begun = process(
        "fit", *quick, "--trainer.max_epochs=1", "--model.compile=true",
        environment={"PATH": str(tmp_path), "CXX": "none++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    _, err = begun.communicate(timeout=100)
    assert begun.returncode == 2
    assert "model.compile: needs a C++ compiler" in err.splitlines()[-1]
    assert "--model.compile false" in err.splitlines()[-1]
