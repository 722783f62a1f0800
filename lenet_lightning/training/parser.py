"""How a command line is parsed: flags override configs, and errors are one line."""

import itertools
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
import yaml
from jsonargparse.typing import restricted_number_type
from lightning.pytorch.cli import LightningArgumentParser

from lenet_lightning.errors import UsageError, one_line
from lenet_lightning.training.callbacks.weight_average import DECAY, Decay

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="from 0 to 4,294,967,295")


# jsonargparse's message of a value that is of none of several types
UNION = re.compile(
    r"""(?:Parser\ key\ "(.+?)":)?[^\0]*\n\ *Errors:\n([^\0]*?)\n\ *Given\ value\ type:\ .*\n\ *Given\ value:\ (.*)""",
    re.VERBOSE,
)

# and of one that is none of a few words
WORDS = re.compile(r"typing\.Literal\[(.*?)\]")
NO_WORD = re.compile(r'Parser key "(.+?)":\s+Expected a typing\.Literal\[(.*?)\]\.\s+Got value: (.*)')

# names that several classes have, and what W&B's sweeps send for nothing
MEANT = {
    "WandbLogger": "lenet_lightning.training.loggers.wandb.WandbLogger",
    "ReduceLROnPlateau": "lightning.pytorch.cli.ReduceLROnPlateau",
    "None": "null",
}

# arguments of Trainer's methods that are not the user's to pass
NOT_OPTIONS = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
NOT_OPTIONS |= {"verbose", "weights_only", "ckpt_path"}

# options that people look for and that are absent on purpose, or have another name
RESIDENT = "there is none: all samples are in memory, and no worker process loads them; leave it out"
ABSENT = {
    "data.num_workers": RESIDENT,
    "data.pin_memory": RESIDENT,
    "model.lr": "the learning rate is model.optimizer.lr",
}


class Parser(LightningArgumentParser):
    """A parser whose errors are one line."""

    flags: ClassVar[list[str]] = []  # of the command line; the parsers of its parts, which raise, get only some

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, and refuse a config that is not text."""
        if args and isinstance(args[0], list):
            Parser.flags = [str(arg).partition("=")[0] for arg in args[0]]
            args = (without_leaks(args[0]), *args[1:])
        try:
            return super().parse_args(*args, **kwargs)
        except UnicodeDecodeError as error:
            raise UsageError(f"--config must be a file of UTF-8 text, got something else ({error.reason})") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the command with the message alone, its cause first; the usage text is 50 lines long.

        Raises:
            UsageError: always.
        """
        if absent := next((name for name in ABSENT if name in message), None):
            raise UsageError(f"{absent}: {ABSENT[absent]}") from ex
        line = _cause_first(message)
        key = line.partition(":")[0]
        # of a class's own setting it names the last part alone
        flag = next((flag[2:] for flag in self.flags if flag.endswith(f".{key}")), key)
        raise UsageError(f"{one_line(line.replace(key, flag, 1), 2_000)} (see --help)") from ex


def add_options(parser: LightningArgumentParser, seed: int | None) -> None:
    """Add the options that are neither of the trainer, the model nor the data; `seed` is the one of runs without."""
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        help="a checkpoint: best or last, of the newest run that has one, or a file; fit resumes from it; with "
        "auto, fit resumes the newest run, or begins if there is none",
    )
    # always an integer: a run without one could not be repeated
    parser.add_argument("--seed_everything", type=Seed, default=seed, help="the training seed")
    parser.add_argument(
        "--averaging",
        type=Decay,
        default=DECAY,
        help="decay of an exponential moving average of the weights, which is then what is validated, tested and "
        "kept; 0 for none",
    )
    parser.add_argument("--pictures", type=bool, default=True, help="whether fit draws the run's pictures")


def _words(quoted: str) -> str:
    return quoted.replace("'", "")


def _cause_first(message: str) -> str:
    """Return jsonargparse's message; of one about a value that is of none of several types, what names the cause.

    A value that fits none has a reason for each type, and most are that it is of another.
    """
    message = NO_WORD.sub(lambda found: f"{found[1]}: must be one of {_words(found[2])}, got {found[3]}", message)
    message = WORDS.sub(lambda found: _words(found[1]), message)
    found = UNION.search(message)
    if not found:
        return message
    key, errors, value = found.groups()
    # the cause of a class that cannot be imported is on a line of its own
    reasons = re.findall(r"^ {4}- (.*?)(?: \(see --help\))?$", errors.replace(":\n        ", ": "), re.MULTILINE)
    causes = [each for each in dict.fromkeys(reasons) if not each.startswith(("Expected a", "Not a valid subclass"))]
    name = f"{key}: " if key else ""
    if causes:
        return f"{name}{'; '.join(causes)}"
    kinds = [
        re.sub(r"Expected an? (?:<class '(?:\w+\.)*(\w+)'>)?", r"\1", each).partition(": ")[0]
        for each in dict.fromkeys(reasons)
    ]
    return f"{name}must be one of {', '.join(kinds).replace('NoneType', 'null')}, got {value}"


def prepared(args: list[str]) -> list[str]:
    """Return the arguments as the parser takes them: configs first, so that a flag is never overridden by one.

    A name that several classes have is that of the one that works here; None, which W&B's sweeps send, is null.
    """
    whole = list(args)
    for at, arg in enumerate(args):
        flag, given, value = arg.partition("=")
        if given and flag.startswith("--") and value in MEANT:
            whole[at] = f"{flag}={MEANT[value]}"
        elif arg in MEANT and at and args[at - 1].startswith("--") and "=" not in args[at - 1]:
            whole[at] = MEANT[arg]
    return _config_first(whole)


def without_leaks(args: list[str]) -> list[str]:
    """Return the arguments so that an optimizer takes no settings of the one before it, a default's or a config's."""
    pairs = itertools.pairwise([*args, ""])
    values = [(arg.partition("=")[0], arg.partition("=")[2] or after) for arg, after in pairs]
    configured, named = DEFAULT_OPTIMIZER, False
    for text in (value for flag, value in values if flag in ("--config", "-c")):
        with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError):
            # a config is a file, or the settings themselves
            tree = yaml.safe_load(text if text.startswith("{") else Path(text).read_text())
            optimizer = tree["model"]["optimizer"]
            configured, named = optimizer if isinstance(optimizer, str) else optimizer["class_path"], True
    for at, (flag, value) in enumerate(values):
        if flag == "--model.optimizer" and value.rpartition(".")[2] != configured.rpartition(".")[2]:
            args = [*args[:at], NONE_BEFORE, *args[at:]]
            break
    return [*args[:1], NONE_BEFORE, *args[1:]] if named else args


# of DigitClassifier
DEFAULT_OPTIMIZER = "AdamW"


class NoSettings(torch.optim.Optimizer):
    """An optimizer without settings: jsonargparse keeps those of the class before that the class after has, too."""

    def __init__(self, params: Any) -> None:
        raise NotImplementedError


NONE_BEFORE = f"--model.optimizer={__name__}.{NoSettings.__name__}"


def _config_first(args: list[str]) -> list[str]:
    configs: list[str] = []
    others: list[str] = []
    rest = iter(args[1:])
    for arg in rest:
        if arg in ("--config", "-c"):
            configs += [arg, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            (configs if arg.startswith("--config=") else others).append(arg)
    return [*args[:1], *configs, *others]
