"""What this project uses of other packages beyond their documentation: a failure here says what an upgrade changed."""

import inspect

import pytest
import torch
import wandb
from lightning import Trainer
from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lenet_lightning import signals
from lenet_lightning.training import parser, runs
from lenet_lightning.training.loggers import wandb_client


def test_lightning_cli_reads_a_checkpoint_s_settings_in_the_method_that_is_overridden():
    """training/cli.py: renamed, a checkpoint's hyper-parameters would override the command line in silence."""
    assert "ckpt_path" in inspect.getsource(LightningCLI._parse_ckpt_path)
    assert "self._parse_ckpt_path()" in inspect.getsource(LightningCLI.__init__)


def test_lightning_cli_asks_its_instance_for_the_commands():
    """training/cli.py: else the parsers of all commands would be built, or none."""
    assert "self.subcommands()" in inspect.getsource(LightningCLI._add_subcommands)
    assert list(inspect.signature(LightningCLI._parser).parameters) == ["self", "subcommand"]


def test_the_parser_reports_errors_with_message_and_exception():
    """training/parser.py: errors become one line there."""
    assert list(inspect.signature(LightningArgumentParser.error).parameters)[:3] == ["self", "message", "ex"]


def test_what_is_not_an_option_is_an_argument_of_the_trainer_s_methods():
    """training/parser.py, NOT_OPTIONS: a new argument of Trainer's methods would become an option."""
    arguments = {
        name for each in ("fit", "validate", "test") for name in inspect.signature(getattr(Trainer, each)).parameters
    }
    assert arguments - {"self"} == parser.NOT_OPTIONS


def test_a_model_checkpoint_keeps_its_best_score_in_these_attributes():
    """training/checkpoints.py: the best score of a resumed run is set from outside."""
    callback = ModelCheckpoint(monitor="val/acc", mode="max")
    for name in ("best_model_path", "best_model_score", "best_k_models", "kth_best_model_path", "kth_value"):
        assert hasattr(callback, name)
    assert callback._legacy_state_key is ModelCheckpoint


def test_lightning_saves_the_average_as_the_state_dict_and_the_weights_beside_it():
    """training/callbacks/weight_average.py, training/checkpoints.py: names of keys in a checkpoint."""
    source = inspect.getsource(WeightAveraging.on_save_checkpoint)
    assert 'checkpoint["current_model_state"]' in source
    assert 'checkpoint["averaging_state"]' in source


def test_launchers_can_kill_their_processes():
    """signals.py, end_together: the other processes of a training end with the first."""
    for launcher in (_SubprocessScriptLauncher, _MultiProcessingLauncher):
        assert list(inspect.signature(launcher.kill).parameters) == ["self", "signum"]
    assert hasattr(signals.Launcher, "kill")


def test_rank_zero_only_knows_the_rank_once_lightning_is_imported():
    """training/cli.py, training/loggers/wandb.py: which process writes and prints."""
    assert rank_zero_only.rank == 0


@pytest.mark.parametrize("name", ["_wandb_init", "_id", "_experiment", "_save_dir"])
def test_the_wandb_logger_keeps_its_settings_in_these_attributes(tmp_path, name):
    """training/loggers/wandb.py: an id is set before the run begins, and a lost run is replaced by a dummy."""
    logger = WandbLogger(save_dir=str(tmp_path), offline=True)
    assert hasattr(logger, name)
    assert {"project", "name", "id"} <= logger._wandb_init.keys()
    assert isinstance(WandbLogger.experiment, property)
    assert callable(_DummyExperiment().log)


def test_the_wandb_client_takes_these_settings():
    """training/loggers/wandb.py and wandb_client.py: times within which its process must answer."""
    names = ("init_timeout", "finish_timeout", "finish_timeout_raises", "stop_on_fatal_error", "use_dot_wandb")
    assert set(names) <= set(wandb.Settings.model_fields)
    assert callable(wandb.Settings().update_from_env_vars)
    assert callable(wandb.teardown)
    assert wandb_client.END_S < signals.GRACE_S


def test_a_fused_optimizer_says_so():
    """training/refusals.py: mixed precision cannot clip with one."""
    weights = [torch.nn.Parameter(torch.zeros(1))]
    assert torch.optim.AdamW(weights, fused=True)._step_supports_amp_scaling
    assert not getattr(torch.optim.AdamW(weights), "_step_supports_amp_scaling", False)


def test_many_tensors_are_updated_in_one_call():
    """historical/sdlm.py."""
    weights = [torch.zeros(2)]
    torch._foreach_addcdiv_(weights, [torch.ones(2)], [torch.full((2,), 2.0)], value=-1.0)
    assert weights[0].tolist() == [-0.5, -0.5]


def test_a_data_loader_asks_a_data_set_for_a_whole_batch():
    """data/dataset.py: __getitems__ gathers a batch at once."""
    from torch.utils.data._utils.fetch import _MapDatasetFetcher

    assert "__getitems__" in inspect.getsource(_MapDatasetFetcher.fetch)


def test_names_of_checkpoints_are_those_of_the_callbacks():
    """training/checkpoints.py: Lightning appends this suffix."""
    assert {runs.BEST, runs.LAST} == {f"{name}{ModelCheckpoint.FILE_EXTENSION}" for name in ("best", "last")}
