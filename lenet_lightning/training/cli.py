"""fit, validate and test: LightningCLI with resume, run folders, and errors of one line."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lenet_lightning import completion, run_folders, signals
from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.errors import UsageError, one_line, printable
from lenet_lightning.networks import NETWORKS
from lenet_lightning.networks.lenet5 import LeNet5
from lenet_lightning.training import checkpoints, jobs, recorded, refusals, results, resume, run_callbacks, runs
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.fitting import Fit
from lenet_lightning.training.parser import NOT_OPTIONS, Parser, add_options, prepared
from lenet_lightning.training.peers import Peers
from lenet_lightning.training.process import tuned
from lenet_lightning.training.quiet import quiet_lightning
from lenet_lightning.training.trainer_defaults import TRAINER_DEFAULTS, leave_defaults_out

# classes, or functions that return one of their objects
MakesModel: TypeAlias = Callable[..., DigitClassifier]
MakesData: TypeAlias = Callable[..., MNISTDataModule]


class CLI(LightningCLI):
    """One command line of `fit`, `validate` or `test`.

    Args:
        args: the command and its options.
        model: what makes the model; its signature is the schema of `model`.
        data: what makes the data module; its signature is the schema of `data`.
        default: the config that is taken where none is passed.
    """

    def __init__(self, args: list[str], model: MakesModel, data: MakesData, default: Path | None) -> None:
        self.asked, self.default = args[0], default
        self.run: Path | None = None
        self.peers: Peers | None = None
        self.told: dict[str, Any] | None = None
        usage = f"lenet_lightning {self.asked} [--config FILE.yaml] [--NAME=VALUE ...]"
        try:
            super().__init__(
                model,
                data,
                save_config_callback=None,
                trainer_defaults=TRAINER_DEFAULTS,
                seed_everything_default=1,
                parser_kwargs={
                    "prog": "lenet_lightning",
                    "allow_abbrev": False,
                    self.asked: {"allow_abbrev": False, "usage": usage},
                },
                parser_class=Parser,
                args=prepared(args),
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
            assert self.peers
            self.peers.part()
        except BaseException as error:
            if isinstance(error, signals.Stopped) and self.run and (self.run / runs.LAST).exists():
                error.add_note("finished epochs are kept; resume with: fit --ckpt_path last")
            if self.run and not self.told:
                with contextlib.suppress(OSError):
                    self.run.rmdir()  # takes only an empty folder: nothing was begun in it
            raise (self.peers or Peers()).fail(error)  # noqa: B904  # it is the same one, or has been printed elsewhere

    # the parsers of the other commands would take a second to build
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the command that is asked for, and those arguments of Trainer's methods that are not options."""
        return {self.asked: NOT_OPTIONS}

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is neither of the trainer, the model nor the data."""
        add_options(parser, self.seed_everything_default)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Leave the average to the command's own option, where the model has one of that name, too."""
        if any(action.dest == "model.averaging" for action in parser._actions):
            parser.link_arguments("averaging", "model.averaging")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; with the recorded settings where a checkpoint of a run is asked for, else with the default config."""
        if completion.enter():
            self._parser(self.asked).parse_args([])  # jsonargparse completes and exits
        fit = self.asked == "fit"
        if fit and self.default and not {arg.partition("=")[0] for arg in args} & {"--config", "-c", "--ckpt_path"}:
            args = [args[0], "--config", str(self.default), *args[1:]]  # not to parse twice
        config = self._parse(parser, args)
        self.peers = Peers(config.trainer)
        if not self.peers.first:
            self._take_settings(parser, args)
            return
        begins = fit and config.ckpt_path in (None, "auto")  # so far: its settings are the command's, not a run's
        root, wanted = Path(config.trainer.default_root_dir), config.ckpt_path or "kept"
        self.checkpoint = None if begins else checkpoints.find(root, wanted)
        if fit and self.checkpoint:
            resume.check_version(checkpoints.read_checkpoint(self.checkpoint), self.checkpoint)
        if not config.config and (chosen := self._settings()):
            self._parse(parser, [args[0], "--config", chosen, *args[1:]])

    def _parse(self, parser: LightningArgumentParser, args: Any) -> Any:
        """Parse, with `~` replaced in the places of runs and checkpoints; return the command's settings."""
        self.config = parser.parse_args(args)
        config = self.config[self.asked]
        trainer = config.trainer
        trainer.default_root_dir = os.path.expanduser(trainer.default_root_dir or TRAINER_DEFAULTS["default_root_dir"])
        config.ckpt_path = config.ckpt_path and os.path.expanduser(config.ckpt_path)
        return config

    def _settings(self) -> str | None:
        """Return the config to take where none is passed: what the checkpoint was trained with, else the default."""
        if self.checkpoint:
            beside = self.checkpoint.parent / "config.yaml"
            if self.asked != "fit":
                settings = recorded.evaluation(checkpoints.read_checkpoint(self.checkpoint), beside)
                settings["data"] |= recorded.data_root(beside)
                return json.dumps(settings)
            if beside.exists():
                return json.dumps(recorded.settings(beside))
        return str(self.default) if self.default else None

    def _take_settings(self, parser: LightningArgumentParser, args: Any) -> None:
        """Take those of the first process, but for the place of the data; and its checkpoint."""
        assert self.peers
        root = self.config[self.asked].data.root
        self.told = self.peers.agree(dict[str, Any]())
        own = [f"--data.root={root}"] if any(arg.partition("=")[0] == "--data.root" for arg in args) else []
        self.config = parser.parse_args([args[0], "--config", json.dumps(self.told["config"]), *own])
        self.checkpoint = checkpoints.share(None, self.peers)

    def _parse_ckpt_path(self) -> None:
        """Leave Lightning's way out: it lets a checkpoint's hyper-parameters override the command line in silence."""

    def before_instantiate_classes(self) -> None:
        """Refuse invalid settings, and make the run's folder."""
        config = self.config[self.asked]
        trainer, model, data = config.trainer, config.model, config.data
        refusals.check_settings(self.asked, config)
        network = NETWORKS.get(str(model.get("network")), LeNet5)  # one's own may be settings of a class
        data.mean = network.MEAN if data.mean is None else data.mean
        data.std = network.STD if data.std is None else data.std
        asked, config.ckpt_path = config.ckpt_path, None  # the run's config says how to begin it anew
        try:
            self.config_text = self._parser(self.asked).dump(config, skip_none=False)
        except ValueError as error:
            raise UsageError(f"{one_line(error, 2_000)}: cannot be recorded in config.yaml") from error
        self.recipe = resume.recipe_of(yaml.safe_load(self.config_text))
        if self.asked != "fit":
            trainer.logger = trainer.enable_checkpointing = False
            return
        if trainer.barebones:
            leave_defaults_out(trainer)
        if trainer.fast_dev_run or trainer.barebones:
            return
        if self.told:
            self.run = Path(self.told["run"])  # it is not made here: this may be another machine
        else:
            root = Path(trainer.default_root_dir)
            if asked == "auto":
                self.checkpoint = run_folders.newest(root, runs.LAST)
            begun, self.checkpoint = jobs.find_run(root, self.recipe, self.checkpoint)
            self.run = runs.folder(root, begun, config.config, jobs.name())
        trainer.default_root_dir = str(self.run)
        for logger in _listed(trainer.logger):
            if getattr(logger, "class_path", "").startswith("lenet_lightning."):
                logger.init_args.save_dir = str(self.run)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they refuse was asked for by the command or its config."""
        assert self.peers
        model = self.config[self.asked].model
        if "weights" in model and (self.checkpoint or not self.peers.first):
            model.weights = None  # those of the checkpoint are taken, or of the first process
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UsageError(one_line(error, 2_000)) from error  # the cause may come last
        self.model.averaging = self.config[self.asked].averaging  # of any model, with an argument for it or without
        refusals.check_launched(self.trainer)
        self.peers.open(self.trainer)
        if self.peers.first:
            self.peers.agree({"config": yaml.safe_load(self.config_text), "run": self.run and str(self.run)})
            checkpoints.share(self.checkpoint, self.peers)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add what every run has."""
        config = self.config_init[self.asked]
        trainer, users, of_run = config.trainer, _listed(config.trainer.callbacks), list[Callback]()
        if self.run:
            run_callbacks.keep_in(self.run, users)
            of_run = run_callbacks.of_run(self.run, self.config_text, self.recipe, self.model, self.datamodule)
        lines = trainer.enable_progress_bar is not False
        trainer.callbacks = run_callbacks.of_command(users, self.asked == "fit", config.averaging, lines, of_run)
        plugins = _listed(trainer.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            trainer.plugins = [*plugins, checkpoints.WholeCheckpoints(self.run)]
        made = super().instantiate_trainer(**kwargs)
        signals.end_together(made.strategy.launcher)
        return made

    @tuned()
    def fit(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Train; then test the best checkpoint once and keep what came of it."""
        assert self.peers
        if self.peers.first:
            signals.when_warned(jobs.requeue)
        refusals.check_training(self.trainer, model, datamodule)
        pictures = self.config[self.asked].pictures
        Fit(self.trainer, model, datamodule, self.run, self.checkpoint, self.recipe, pictures, self.peers)()

    def validate(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Print the metrics of a checkpoint on the validation samples."""
        self._evaluate(model, datamodule)

    def test(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Print the metrics of a checkpoint on the 10,000 test samples, and keep them if its run has none."""
        metrics = self._evaluate(model, datamodule)
        assert self.checkpoint
        if metrics and results.are_missing(self.checkpoint):
            results.add(self.checkpoint, model, datamodule, metrics, self.trainer)
            print(f"kept in      {printable(self.checkpoint.parent / results.RESULTS)}")

    def _evaluate(self, model: DigitClassifier, datamodule: MNISTDataModule) -> dict[str, float]:
        """Print the metrics of the checkpoint; return them in the first process, and nothing in the others."""
        assert self.checkpoint and self.peers
        self.peers.meet(self.trainer)
        line, metrics = results.evaluate(self.trainer, model, datamodule, self.asked, self.checkpoint)
        if not self.peers.first:
            return {}
        print(line)
        return metrics


def main(
    args: list[str], model: MakesModel = DigitClassifier, data: MakesData = MNISTDataModule, default: Path | None = None
) -> None:
    """Run `fit`, `validate` or `test` with its options.

    Args:
        args: the command and its options.
        model: a DigitClassifier, a subclass, or a function that returns one.
        data: an MNISTDataModule, a subclass, or a function that returns one.
        default: the config of a `fit` to which none is passed.

    Raises:
        UsageError: the options or the config are invalid.
        RunError: data or a checkpoint are damaged or out of reach, or a folder is not writable.
    """
    quiet_lightning()
    CLI(args, model, data, default)


def _listed(setting: Any) -> list[Any]:
    """Return as a list what Trainer takes as one thing, several or none."""
    return list(setting) if isinstance(setting, list | tuple) else [setting] if setting else []
