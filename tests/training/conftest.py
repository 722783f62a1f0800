import pytest

from lenet_lightning.__main__ import main


@pytest.fixture
def command(fake_mnist, tmp_path, monkeypatch, capfd):
    """Run a command line on the fake digits, in a folder of the test's own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_TAGS", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no login of the person who runs the tests
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    def run(*args):
        code = main([args[0], *map(str, args[1:]), "--data.root", str(fake_mnist)])
        out, err = capfd.readouterr()
        print(out, err)  # shown when a test fails
        return code, out, err

    return run


@pytest.fixture
def quick():
    """Options that make a run short: 6 steps an epoch, few validation digits, no test and no W&B."""
    return (
        "--data.val_size=1000",
        "--trainer.limit_test_batches=0",
        "--trainer.limit_train_batches=6",
        "--data.batch_size=64",
        "--trainer.logger=lenet_lightning.training.metrics_csv.MetricsCSV",
    )
