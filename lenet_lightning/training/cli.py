"""fit, validate and test: LightningCLI, its gaps closed."""

import contextlib
import json
import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse.typing import restricted_number_type
from lightning import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lenet_lightning import signals
from lenet_lightning.atomic import replacing
from lenet_lightning.data.datamodule import EVAL_BATCH_SIZE, TEST_SIZE, TRAIN_SIZE, MNISTDataModule
from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.training import process, recorded, results, resume, runs, world
from lenet_lightning.training.callbacks.progress import EpochLines
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.environment import circumstances
from lenet_lightning.training.loggers.metrics_csv import MetricsCSV
from lenet_lightning.training.loggers.wandb import CHECKPOINT_KEY, RunId, WandbLogger

# the checkout's, which an editable installation runs from
DEFAULT_CONFIG = Path(__file__).parents[2] / "configs" / "default.yaml"

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="from 0 to 4,294,967,295")


class Parser(LightningArgumentParser):
    """A parser whose errors are short."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, and refuse a config that is no text."""
        try:
            return super().parse_args(*args, **kwargs)
        except UnicodeDecodeError as error:
            raise UsageError(f"--config must be a file of UTF-8 text, got something else ({error.reason})") from error

    def error(self, message: str, ex: Exception | None = None) -> None:
        """End the command with the message alone; the usage text is 50 lines long.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{_plain(message)} (see --help)") from ex


class CLI(LightningCLI):
    """The command line of DigitClassifier and MNISTDataModule."""

    def __init__(self, args: list[str]) -> None:
        args = _config_first(args)
        strict = {"prog": "lenet_lightning", "allow_abbrev": False}
        usage = "lenet_lightning {} [--config FILE.yaml] [--NAME=VALUE ...]"
        commands = {name: {"allow_abbrev": False, "usage": usage.format(name)} for name in self.subcommands()}
        self.run: Path | None = None
        self.first = rank_zero_only.rank == 0  # of several processes, the one that writes and prints
        try:
            super().__init__(
                DigitClassifier,
                MNISTDataModule,
                save_config_callback=None,
                trainer_defaults={
                    "default_root_dir": "runs",
                    "enable_model_summary": False,
                    "num_sanity_val_steps": 0,
                },
                seed_everything_default=1,
                parser_kwargs=strict | commands,
                parser_class=Parser,
                args=args,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
        except BaseException as error:
            if isinstance(error, signals.Stopped) and self.run and (self.run / runs.LAST).exists():
                error.add_note("finished epochs are kept; resume with: fit --ckpt_path last")
            if self.run and self.first:
                with contextlib.suppress(OSError):
                    self.run.rmdir()  # takes only an empty folder: nothing was begun in it
            raise

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the commands, and those arguments of Trainer's methods that are not the user's to pass."""
        ours = {
            "model",
            "datamodule",
            "dataloaders",
            "train_dataloaders",
            "val_dataloaders",
            "verbose",
            "weights_only",
            "ckpt_path",
        }
        return {"fit": ours, "validate": ours, "test": ours}

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed, always an integer (a run without one could not be repeated), and the checkpoint."""
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            help="a checkpoint: best or last, of the newest run that has one, or a file; fit resumes from it",
        )
        parser.add_argument(
            "--seed_everything", type=Seed, default=self.seed_everything_default, help="the training seed"
        )
        parser.add_argument("--pictures", type=bool, default=True, help="whether fit draws the run's pictures")

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """Parse; with the recorded settings when a checkpoint of a run is asked for, else with default.yaml."""
        self.config = parser.parse_args(args)
        config = self.config[self.config.subcommand]
        fit = self.config.subcommand == "fit"
        wanted = config.ckpt_path or (None if fit else "kept")
        self.checkpoint = runs.find(Path(config.trainer.default_root_dir), wanted) if wanted else None
        if config.config:
            return
        beside = self.checkpoint and self.checkpoint.parent / "config.yaml"
        if self.checkpoint and not fit:
            settings = recorded.evaluation(runs.read_checkpoint(self.checkpoint))
            settings["data"] |= recorded.data_root(beside)
            chosen = [json.dumps(settings)]
        elif beside and beside.exists():
            chosen = [json.dumps(recorded.settings(beside))]
        else:
            chosen = [str(DEFAULT_CONFIG)] if DEFAULT_CONFIG.exists() else []
        for each in chosen:
            self.config = parser.parse_args([args[0], "--config", each, *args[1:]])

    def _parse_ckpt_path(self) -> None:
        """Leave Lightning's way out: it lets a checkpoint's hyper-parameters override the command line in silence."""

    def before_instantiate_classes(self) -> None:
        """Refuse invalid settings, and make the run's folder."""
        config = self.config[self.subcommand]
        trainer = config.trainer
        _check_devices(trainer)
        if self.subcommand == "fit":
            _check_end(trainer, config.model.schedule)
        self.validated = bool(config.data.val_size and trainer.limit_val_batches != 0)
        if self.subcommand == "validate" and not config.data.val_size:
            raise UsageError("data.val_size is 0: this run validates on no samples; `test` has its test accuracy")
        self.config_text = self._parser(self.subcommand).dump(config, skip_none=False)
        self.recipe = resume.recipe_of(yaml.safe_load(self.config_text))
        if self.subcommand != "fit":
            trainer.logger = trainer.enable_checkpointing = False
        elif not trainer.fast_dev_run and not self.first:
            self.run = Path(trainer.default_root_dir)  # the first process's folder is told when they have met
        elif not trainer.fast_dev_run:
            self.run = self._run_folder(config)
            trainer.default_root_dir = str(self.run)
            for logger in _listed(trainer.logger):
                if "save_dir" in getattr(logger, "init_args", ()):
                    logger.init_args.save_dir = str(self.run)

    def _run_folder(self, config: Any) -> Path:
        if self.checkpoint and (self.checkpoint.parent / "config.yaml").exists():
            run = self.checkpoint.parent
            try:
                runs.check_writable(run)
            except OSError as error:
                raise RunError(f"{run}: must be writable to resume this run, got: {error.strerror}") from error
            return run
        passed = [path for path in config.config or () if path]
        name = Path(str(passed[-1])).stem if passed else "fit"
        return runs.create(Path(config.trainer.default_root_dir), name)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they refuse was asked for by the command or its config."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UsageError(one_line(error, 2_000)) from error  # the cause may come last
        world.check(self.trainer.world_size)
        if not self.model.automatic_optimization:
            for name, only in (("world_size", 1), ("accumulate_grad_batches", 1), ("gradient_clip_val", None)):
                if (got := getattr(self.trainer, name)) != only:
                    where = "devices x num_nodes" if name == "world_size" else name
                    raise UsageError(f"trainer.{where} must be {only} with model.optimizer SDLM, got {got}")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add what every run has: its progress on screen, and its checkpoints."""
        config = self.config_init[self.subcommand].trainer
        callbacks = config.callbacks = [*_listed(config.callbacks), _signals()]
        if config.enable_progress_bar is not False:
            callbacks.append(EpochLines())
        plugins = _listed(config.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            config.plugins = [*plugins, runs.WholeCheckpoints(self.run)]
        if self.run:
            callbacks.append(resume.ExactResume(self.recipe))
        if self.run and config.enable_checkpointing is not False:
            callbacks.extend([RunId(), *runs.checkpoints(self.run, self.validated)])
        trainer = super().instantiate_trainer(**kwargs)
        signals.end_together(trainer.strategy.launcher)
        return trainer

    @process.tuned()
    def fit(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Train; then test the best checkpoint once and keep what came of it."""
        _check_steps(self.trainer, model, datamodule)
        with runs.hold(self.run if self.first else None):
            self._fit(model, datamodule)

    def _fit(self, model: DigitClassifier, datamodule: MNISTDataModule) -> None:
        trainer = self.trainer
        trackers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        lines, finished = [], False
        if self.checkpoint:
            # to know before the training that it fits
            checkpoint = results.load(model, self.checkpoint)
            resume.check(checkpoint, self.checkpoint, self.recipe, trainer)
            threads = resume.take_threads(checkpoint, trainer.global_rank)
            lines = [threads] if threads else []
            finished = self.run is not None and resume.is_finished(checkpoint, trainer)
            if finished and not (self.checkpoint.parent / "config.yaml").exists():
                raise UsageError(
                    f"{printable(self.checkpoint)}: all its epochs are trained and it is not in a run's folder; pass a "
                    f"larger trainer.max_epochs, or test it: test --ckpt_path {printable(self.checkpoint)}"
                )
            if finished:
                self.run = self.checkpoint.parent  # in all processes
                model.training_seconds = checkpoint["training_seconds"]
                lines.append(resume.finished_line(checkpoint))
            for tracker in trackers:
                tracker.go_on(checkpoint.get(CHECKPOINT_KEY) if self.checkpoint.parent == self.run else None)
        if self.checkpoint and self.first and self.checkpoint.parent == self.run:
            runs.check_best(self.run, checkpoint, trained=finished)
        if finished and not self._missing():
            if self.first:
                print("\n".join([*lines, f"run          {printable(self.run)}"]), flush=True)
            return
        datamodule.prepare_data()
        failed = True
        try:
            if self.run and self.first and not finished:
                with replacing(self.run / "config.yaml") as partial:
                    partial.write_text(self.config_text)
                runs.point_latest(self.run)
                print(_headline(model, trainer, self.run), flush=True)
            if lines and self.first:
                print("\n".join(lines), flush=True)
            for tracker in trackers:
                # W&B would write the parser's kind of number as text
                made_with = results.metadata(model, datamodule, int(self.config_init[self.subcommand].seed_everything))
                tracker.log_hyperparams(yaml.safe_load(self.config_text) | {"made_with": made_with | circumstances()})
            if finished:
                datamodule.setup("fit")  # the pictures show training samples
            else:
                trainer.fit(model, datamodule=datamodule, ckpt_path=self.checkpoint, weights_only=True)
            self.run = trainer.strategy.broadcast(self.run)
            if self.run and self.first:
                runs.check_there(self.run)
            validated = finished or "val/acc" in trainer.callback_metrics  # the weights that the training ended with
            files = [self.run / name for name in (runs.BEST, runs.LAST)] if self.run else []
            kept = trainer.strategy.broadcast(next((file for file in files if file.exists()), None))
            lines = self._keep(kept, validated, trackers) if kept else ["not tested: no checkpoint was kept"]
            failed = False
        except OSError as error:
            if not error.filename:
                raise
            raise RunError(
                f"{error.filename}: cannot be written ({error.strerror}); what was there before is intact; make room"
                f"{runs.resume_hint(self.run)}"
            ) from error
        except RuntimeError as error:
            if "No working C++ compiler" in str(error):
                raise UsageError(
                    "model.compile: needs a C++ compiler (g++ or what CXX names), found none; install one, or pass "
                    "--model.compile false"
                ) from error
            if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
                raise
            if not self.first:
                raise SystemExit(1) from error  # the first process prints
            raise RunError(
                f"trainer.devices: all {trainer.world_size} processes must live, one ended or is out of reach"
                f"{runs.resume_hint(self.run)}"
            ) from error
        finally:
            for tracker in trackers:
                tracker.close(failed)
        if not self.first:
            return
        if self.run:
            lines.append(f"run          {printable(self.run)}  ({model.training_seconds:.0f} s of training)")
        print("\n".join([*lines, *(line for tracker in trackers for line in tracker.where_to_look())]), flush=True)

    def _missing(self) -> list[str]:
        """Name the files that this finished run should have and has not."""
        tested = self.trainer.limit_test_batches == 1.0
        drawn = tested and self.config[self.subcommand].pictures
        wanted = [results.WEIGHTS] + [results.RESULTS] * tested + [results.PICTURES] * drawn
        return [name for name in wanted if not (self.run / name).exists()]

    def _keep(self, kept: Path, validated: bool, trackers: list[WandbLogger]) -> list[str]:
        """Test the checkpoint `kept`; write weights, results and pictures; return the lines to print."""
        model, data, trainer = self.model, self.datamodule, self.trainer
        line, metrics = "not tested   (trainer.limit_test_batches is 0)", {}
        if trainer.limit_test_batches == 0:
            results.load(model, kept)
        else:
            line, metrics = results.evaluate(trainer, model, data, "test", kept)
        if metrics and kept.name == runs.LAST:
            what = "no epoch was validated at its end" if self.validated else "nothing was validated"
            line += f" ({what}, so there is no best)"
        elif metrics and not validated:
            epoch = runs.read_checkpoint(kept)["epoch"] + 1
            line += f" (epoch {epoch}; epoch {trainer.current_epoch}, the last one, was not validated at its end)"
        if self.first:
            results.keep(self.run, kept, model, data, metrics, trainer.loggers)
            if metrics and self.config[self.subcommand].pictures:
                pictures = results.draw(self.run, model, data)
                for tracker in trackers:
                    tracker.log_pictures(pictures)
        return [line]

    def validate(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Print the metrics of a checkpoint on the validation samples."""
        line, _ = results.evaluate(self.trainer, model, datamodule, "validate", self.checkpoint)
        if self.first:
            print(line)

    def test(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Print the metrics of a checkpoint on the 10,000 test samples, and keep them if its run has none."""
        line, metrics = results.evaluate(self.trainer, model, datamodule, "test", self.checkpoint)
        if not self.first:
            return
        print(line)
        run = self.checkpoint.parent
        judged = runs.BEST if (run / runs.BEST).exists() else runs.LAST
        if not metrics or self.checkpoint.name != judged or (run / results.RESULTS).exists():
            return
        checkpoint = runs.read_checkpoint(self.checkpoint)
        if resume.RECIPE not in checkpoint or not (run / "config.yaml").exists():
            return
        loggers: list[Any] = [MetricsCSV(str(run))] if (run / "metrics.csv").exists() else []
        if run_id := checkpoint.get(CHECKPOINT_KEY):
            loggers.append(WandbLogger(str(run)))
            loggers[-1].go_on(run_id)
        results.keep(run, self.checkpoint, model, datamodule, metrics, loggers)
        print(f"kept in      {printable(run / results.RESULTS)}")
        for tracker in loggers[1:]:
            tracker.close(failed=False)


def main(args: list[str]) -> None:
    """Run `fit`, `validate` or `test` with its options.

    Raises:
        UsageError: the options or the config ask for what cannot be.
        RunError: data or a checkpoint are damaged or out of reach, or a folder is not writable.
    """
    _quiet_lightning()
    CLI(args)


def _signals() -> LambdaCallback:
    """Return what takes the signals back from Lightning, whose handler lets several processes wait for each other."""
    hooks = ("on_train_start", "on_validation_start", "on_test_start")
    return LambdaCallback(**dict.fromkeys(hooks, lambda *_: signals.reclaim()))


def _plain(message: str) -> str:
    """Give jsonargparse's message as one line: field, rule, what came."""
    message = " ".join(message.split())
    for pattern, plain in (
        (r'^Parser key "([^"]+)":', r"--\1:"),
        (r"<class '([\w.]+)'>", r"\1"),
        (
            r"(?:- .*)?Does not validate .* Subtypes: \[(.*?)\] Errors: .* Given value: (.*)",
            r"must be one of \1, got \2",
        ),
        (r"Not of type \w+: (.+) does not conform to restriction (.+)", r"must be such that \2, got v=\1"),
        (r"Expected a (?:typing\.)?Literal\[(.*)\]\. Got value: (.*)", r"must be one of \1, got \2"),
    ):
        message = re.sub(pattern, plain, message)
    return message


def _listed(setting: Any) -> list[Any]:
    """Give as a list what Trainer takes as one thing, several or none."""
    return list(setting) if isinstance(setting, list | tuple) else [setting] if setting else []


def _check_end(trainer: Any, schedule: str) -> None:
    epochs = trainer.max_epochs
    ends_otherwise = trainer.max_steps > 0 or trainer.max_time or trainer.fast_dev_run
    if (epochs is None or epochs == -1) and not ends_otherwise:
        raise UsageError(
            f"trainer.max_epochs must be 1 or more, got {epochs}: nothing else ends this run; pass a number, or "
            "trainer.max_steps or trainer.max_time"
        )
    if schedule == "onecycle" and epochs in (None, -1) and trainer.max_steps < 1 and not trainer.fast_dev_run:
        raise UsageError(
            f"trainer.max_epochs must be 1 or more with model.schedule onecycle, got {epochs}: the rate is zero at the "
            "last step, which must be known; pass a number, or trainer.max_steps"
        )
    if epochs is not None and epochs != -1 and epochs < 1:
        raise UsageError(f"trainer.max_epochs must be 1 or more, got {epochs}")


def _check_devices(trainer: Any) -> None:
    devices, cores = str(trainer.devices), os.cpu_count() or 1
    if trainer.accelerator in ("gpu", "cuda", "mps") and not torch.accelerator.is_available():
        raise UsageError(
            f"trainer.accelerator must be one this machine has, got {trainer.accelerator}; use cpu or auto"
        )
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and devices.isdecimal() and int(devices) > cores:
        # Lightning would start that many processes and take the machine down
        raise UsageError(f"trainer.devices must be at most the {cores} cores of this machine on a CPU, got {devices}")


def _check_steps(trainer: Trainer, model: DigitClassifier, data: MNISTDataModule) -> None:
    """Refuse what Lightning would find out at the first step, when the run's folder and its W&B run are there."""
    if trainer.gradient_clip_val and "mixed" in str(trainer.precision):
        optimizer = model.optimizer(model.network.parameters())
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            raise UsageError(
                f"trainer.gradient_clip_val must be null with a fused optimizer in {trainer.precision}, got "
                f"{trainer.gradient_clip_val}; pass --model.optimizer.fused false"
            )
    samples = {"train": TRAIN_SIZE - data.val_size, "val": data.val_size, "test": TEST_SIZE}
    for stage, count in samples.items():
        limit = getattr(trainer, f"limit_{stage}_batches")
        batches = -(-count // trainer.world_size // (data.batch_size if stage == "train" else EVAL_BATCH_SIZE))
        if isinstance(limit, float) and batches and 0 < limit * batches < 1:
            raise UsageError(
                f"trainer.limit_{stage}_batches must be 1 or more batches, got {limit:g} of {batches} batches; pass a "
                "larger fraction or a number of batches"
            )


def _config_first(args: list[str]) -> list[str]:
    """Return the arguments with the configs before all flags, so that a flag is never overridden by one."""
    configs, others, rest = [], [], iter(args[1:])
    for arg in rest:
        if arg in ("--config", "-c"):
            configs += [arg, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            (configs if arg.startswith("--config=") else others).append(arg)
    return [*args[:1], *configs, *others]


def _headline(model: DigitClassifier, trainer: Trainer, run: Path) -> str:
    parameters = sum(p.numel() for p in model.network.parameters())
    where = f"{trainer.strategy.root_device} with {torch.get_num_threads()} threads"
    return f"{type(model.network).__name__}, {parameters:,} parameters, on {where}; run {printable(run)}"


def _quiet_lightning() -> None:
    # its lines on devices, tips and advertisements; warnings and errors still come through
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # a compiler of CUDA on a machine without a GPU, whenever model.compile begins
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    for message in (
        ".*LeafSpec.* is deprecated",  # Lightning's own, on torch 2.15
        "Checkpoint directory .* exists and is not empty",  # it holds config.yaml
        "The '.*_dataloader' does not have many workers",  # the digits are in memory: workers would only cost
        "The number of training batches .* is smaller than the logging interval",  # nothing is logged in steps
        "You called `self.log.*` but have no logger configured",  # --trainer.logger false is the user's wish
        "It is recommended to use `self.log.*sync_dist=True",  # what is logged without is equal in all processes
        "`ModelCheckpoint.*` could not find the monitored key",  # so is --trainer.limit_val_batches 0
        "Total length of `list` across ranks is zero",  # and --data.val_size 0
    ):
        warnings.filterwarnings("ignore", message)
