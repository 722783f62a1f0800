"""fit, validate and test: LightningCLI, its gaps closed."""

import contextlib
import copy
import csv
import json
import logging
import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse.typing import restricted_number_type
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lenet_lightning.atomic import replacing
from lenet_lightning.data.datamodule import MNISTDataModule
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference import weights
from lenet_lightning.training import hooks, process, resume, runs
from lenet_lightning.training.circumstances import circumstances
from lenet_lightning.training.classifier import DigitClassifier
from lenet_lightning.training.progress import EpochLines
from lenet_lightning.training.tracking import CHECKPOINT_KEY, RunId, WandbLogger

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
        self._args = args
        strict = {"prog": "lenet_lightning", "allow_abbrev": False}
        usage = "lenet_lightning {} [--config FILE.yaml] [--NAME=VALUE ...]"
        commands = {name: {"allow_abbrev": False, "usage": usage.format(name)} for name in self.subcommands()}
        self.run: Path | None = None
        self.first = rank_zero_only.rank == 0  # of several processes, the one that writes and speaks
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
        except BaseException:
            if hasattr(self, "trainer") and self.trainer.strategy.launcher:
                self.trainer.strategy.launcher.kill(signal.SIGTERM)  # the others would wait for this process
            if self.run and self.first:
                with contextlib.suppress(OSError):
                    self.run.rmdir()  # takes only an empty folder: nothing was begun in it
            raise

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Name the commands, and those arguments of Trainer's methods that are not the user's to give."""
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
            help="a checkpoint: best or last, of the newest run that has one, or a file; fit goes on from it",
        )
        parser.add_argument(
            "--seed_everything", type=Seed, default=self.seed_everything_default, help="the training seed"
        )
        parser.add_argument("--pictures", type=bool, default=True, help="whether fit draws the run's pictures")

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """Parse, with the run's own config when a checkpoint of a run is asked for, else with default.yaml."""
        self.config = parser.parse_args(args)
        config = self.config[self.config.subcommand]
        wanted = config.ckpt_path or (None if self.config.subcommand == "fit" else "kept")
        self.checkpoint = runs.find(Path(config.trainer.default_root_dir), wanted) if wanted else None
        if not config.config:
            beside = self.checkpoint and self.checkpoint.parent / "config.yaml"
            chosen = beside if beside and beside.exists() else DEFAULT_CONFIG
            if chosen.exists():
                self.config = parser.parse_args([args[0], "--config", str(chosen), *args[1:]])

    def _parse_ckpt_path(self) -> None:
        """Leave Lightning's way out: it lets a checkpoint's hyper-parameters override the command line in silence."""

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot be, and make the run's folder."""
        config = self.config[self.subcommand]
        trainer = config.trainer
        _check(trainer)
        self.validated = bool(config.data.val_size and trainer.limit_val_batches != 0)
        if self.subcommand == "validate" and not config.data.val_size:
            raise UsageError("data.val_size is 0: this run kept no digits to validate on; `test` gives its test figure")
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
                runs.clear_partial(run)
            except OSError as error:
                raise RunError(f"{run}: must be writable to go on with this run, got: {error.strerror}") from error
            return run
        name = Path(str(config.config[-1])).stem if config.config else "fit"
        return runs.create(Path(config.trainer.default_root_dir), name)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they refuse was asked for by the command or its config."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UsageError(" ".join(str(error).split())) from error
        if not self.model.automatic_optimization:
            for name, only in (("world_size", 1), ("accumulate_grad_batches", 1), ("gradient_clip_val", None)):
                if (got := getattr(self.trainer, name)) != only:
                    where = "devices x num_nodes" if name == "world_size" else name
                    raise UsageError(f"trainer.{where} must be {only} with model.optimizer SDLM, got {got}")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add what every run has: its progress on screen, and its checkpoints."""
        config = self.config_init[self.subcommand].trainer
        callbacks = config.callbacks = [*_listed(config.callbacks), _OneSignalHandler()]
        if config.enable_progress_bar is not False:
            callbacks.append(EpochLines())
        plugins = _listed(config.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            config.plugins = [*plugins, runs.WholeCheckpoints()]
        if self.run:
            callbacks.append(resume.ExactResume(self.recipe))
        if self.run and config.enable_checkpointing is not False:
            callbacks.extend([RunId(), *runs.checkpoints(self.run, self.validated)])
        trainer = super().instantiate_trainer(**kwargs)
        hooks.skip_empty(trainer, self.model)
        return trainer

    @process.tuned()
    def fit(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Train; then test the best checkpoint once and keep what came of it."""
        trainer = self.trainer
        trackers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        finished = None
        if self.checkpoint:
            # to know before the training that it fits
            checkpoint = _load(model, self.checkpoint)
            resume.check(checkpoint, self.checkpoint, self.recipe, trainer)
            finished = resume.finished(checkpoint, trainer)
            for tracker in trackers:
                tracker.go_on(checkpoint.get(CHECKPOINT_KEY) if self.checkpoint.parent == self.run else None)
        datamodule.prepare_data()
        failed = True
        try:
            if self.run and self.first:
                with replacing(self.run / "config.yaml") as partial:
                    partial.write_text(self.config_text)
                runs.point_latest(self.run)
                print(_headline(model, trainer, self.run), flush=True)
            if finished and self.first:
                print(finished, flush=True)
            for tracker in trackers:
                tracker.log_hyperparams(
                    yaml.safe_load(self.config_text) | {"made_with": self._facts() | circumstances()}
                )
            trainer.fit(model, datamodule=datamodule, ckpt_path=self.checkpoint, weights_only=True)
            self.run = trainer.strategy.broadcast(self.run)
            checkpoint = self.run / (runs.BEST if self.validated else runs.LAST) if self.run else None
            kept = trainer.strategy.broadcast(bool(checkpoint) and checkpoint.exists())
            lines = self._keep(checkpoint, trackers) if kept else ["not tested: no checkpoint was kept"]
            failed = False
        except OSError as error:
            if not error.filename:
                raise
            raise RunError(
                f"{error.filename}: cannot be written ({error.strerror}); what was there before is intact; "
                "make room, then: fit --ckpt_path last"
            ) from error
        except RuntimeError as error:
            if "No working C++ compiler" in str(error):
                raise UsageError(
                    "model.compile: needs a C++ compiler (g++ or what CXX names), found none; install one, or say "
                    "--model.compile false"
                ) from error
            if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
                raise
            if not self.first:
                raise SystemExit(1) from error  # the first process speaks
            raise RunError(
                f"trainer.devices: all {trainer.world_size} processes must live, one ended or is out of reach; "
                "what was finished is kept, and goes on with: fit --ckpt_path last"
            ) from error
        finally:
            for tracker in trackers:
                tracker.close(failed)
        if not self.first:
            return
        if self.run:
            lines.append(f"run          {self.run}  ({model.training_seconds:.0f} s of training)")
        print("\n".join([*lines, *(line for tracker in trackers for line in tracker.where_to_look())]), flush=True)

    def _keep(self, checkpoint: Path, trackers: list[WandbLogger]) -> list[str]:
        """Test the best checkpoint, or the last; keep weights, results and pictures; give the lines to print."""
        model, file = self.model, self.run / "weights.safetensors"
        line, figures = "not tested   (trainer.limit_test_batches is 0)", {}
        if self.trainer.limit_test_batches == 0:
            _load(model, checkpoint)
        else:
            line, figures = self._evaluate("test", checkpoint)
        if not self.first:
            return []
        facts = self._facts() | figures
        weights.write(model.trained_network.state_dict(), facts, file)
        if not figures:
            return [line]
        results = facts | self._training_facts(checkpoint) | circumstances()
        with replacing(self.run / "results.json") as partial:
            partial.write_text(json.dumps(results, indent=2) + "\n")
        pictures = self._draw() if self.config[self.subcommand].pictures else []
        probability, read = model.test_logits.softmax(1).max(1)
        for tracker in trackers:
            tracker.log_pictures(pictures)
            images, labels = self.datamodule.test.images.squeeze(1).numpy(), model.test_labels.tolist()
            tracker.log_errors(images, labels, read.tolist(), probability.tolist())
            tracker.log_files([checkpoint, file], facts)
        return [line]

    def _draw(self) -> list[Path]:
        from lenet_lightning.training import pictures  # matplotlib: half a second that other commands need not wait

        data, model = self.datamodule, self.model
        rows = self.run / "metrics.csv"
        originals = data.originals.images[:10].float() / 255
        generator = torch.Generator().manual_seed(0)
        evidence = pictures.Evidence(
            rows=list(csv.DictReader(rows.read_text().splitlines())) if rows.exists() else [],
            network=copy.deepcopy(model.trained_network).cpu(),
            images=data.test.images,
            normalised=(data.test.images[:1].float() / 255 - data.mean) / data.std,
            labels=model.test_labels,
            logits=model.test_logits,
            originals=originals,
            distorted=[data.distortion(originals, generator) for _ in range(5)] if data.distortion else [],
        )
        return pictures.draw(evidence, self.run / "pictures")

    def validate(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Print the figures of a checkpoint on the validation digits."""
        self._print_figures("validate")

    def test(self, model: DigitClassifier, datamodule: MNISTDataModule, **_: Any) -> None:
        """Print the figures of a checkpoint on the 10,000 test digits."""
        self._print_figures("test")

    def _print_figures(self, command: str) -> None:
        line, _ = self._evaluate(command, self.checkpoint)
        if self.first:
            print(line)

    def _evaluate(self, command: str, checkpoint: Path) -> tuple[str, dict[str, float]]:
        """Give the line to print and, if every digit was counted, the figures."""
        stage = {"validate": "val", "test": "test"}[command]
        _load(self.model, checkpoint)
        getattr(self.trainer, command)(self.model, datamodule=self.datamodule, verbose=False)
        digits = len(getattr(self.datamodule, stage))
        batches = getattr(self.trainer, f"num_{stage}_batches")
        loader = getattr(self.datamodule, f"{stage}_dataloader")()
        name = {"val": "validation", "test": "test"}[stage]
        figures = {
            name: value.item() for name, value in self.trainer.callback_metrics.items() if name.startswith(f"{stage}/")
        }
        acc, loss = figures[f"{stage}/acc"], figures[f"{stage}/loss"]
        if batches != [len(loader)]:
            return f"{name} accuracy {acc:.2%}, of {batches[0]} of {len(loader)} batches only: not a {name} figure", {}
        counted = f"{round(acc * digits):,} of {digits:,}"
        why = "" if self.validated or command == "validate" else " (nothing was validated, so there is no best)"
        return f"{name} accuracy {acc:.2%} ({counted}), loss {loss:.4f}, of {checkpoint}{why}", figures

    def _facts(self) -> dict[str, Any]:
        """Give what is true of the weights wherever and whenever they were made."""
        data = self.datamodule
        facts = weights.facts_of(self.model.hparams.network, data.mean, data.std)
        return facts | {
            "seed": int(self.config[self.subcommand].seed_everything)
        }  # W&B writes the parser's kind as text

    def _training_facts(self, checkpoint: Path) -> dict[str, Any]:
        kept = "best_epoch" if self.validated else "last_epoch"
        return {
            kept: runs.read_checkpoint(checkpoint)["epoch"] + 1,
            "epochs": self.trainer.current_epoch,
            "train_seconds": round(self.model.training_seconds, 2),
            "processes": self.trainer.world_size,
            "device": str(self.trainer.strategy.root_device),
        }


class _OneSignalHandler(Callback):
    """Leave SIGTERM to the handler that was there: Lightning's lets several processes wait for each other."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._handler)

    on_train_start = on_validation_start = on_test_start = _restore


def main(args: list[str]) -> None:
    """Run `fit`, `validate` or `test` with its options.

    Raises:
        UsageError: the options or the config ask for what cannot be.
        RunError: data or a checkpoint are damaged or out of reach, or a folder is not writable.
    """
    _quiet_lightning()
    CLI(args)


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


def _check(trainer: Any) -> None:
    epochs, devices, cores = trainer.max_epochs, str(trainer.devices), os.cpu_count() or 1
    if epochs is not None and epochs < 1:
        raise UsageError(f"trainer.max_epochs must be 1 or more, got {epochs}")
    if trainer.accelerator in ("gpu", "cuda", "mps") and not torch.accelerator.is_available():
        raise UsageError(
            f"trainer.accelerator must be one this machine has, got {trainer.accelerator}; use cpu or auto"
        )
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and devices.isdecimal() and int(devices) > cores:
        # Lightning would start that many processes and take the machine down
        raise UsageError(f"trainer.devices must be at most the {cores} cores of this machine on a CPU, got {devices}")


def _load(model: DigitClassifier, path: Path) -> dict[str, Any]:
    checkpoint = runs.read_checkpoint(path)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: does not fit this network and config: {reason}") from error
    return checkpoint


def _headline(model: DigitClassifier, trainer: Trainer, run: Path) -> str:
    parameters = sum(p.numel() for p in model.network.parameters())
    where = f"{trainer.strategy.root_device} with {torch.get_num_threads()} threads"
    return f"{type(model.network).__name__}, {parameters:,} parameters, on {where}; run {run}"


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
