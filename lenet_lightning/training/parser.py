"""How a command line is parsed: flags override configs, and errors are one line."""

import re
from typing import Any, ClassVar, NoReturn

from jsonargparse.typing import restricted_number_type
from lightning.pytorch.cli import LightningArgumentParser

from lenet_lightning.errors import UsageError, one_line

Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)], docstring="from 0 to below 1")
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="from 0 to 4,294,967,295")


# jsonargparse's message of a value that is of none of several types
UNION = re.compile(
    r"""(?:Parser\ key\ "(.+?)":)?[^\0]*\n\ *Errors:\n([^\0]*?)\n\ *Given\ value\ type:\ .*\n\ *Given\ value:\ (.*)""",
    re.VERBOSE,
)


class Parser(LightningArgumentParser):
    """A parser whose errors are one line."""

    flags: ClassVar[list[str]] = []  # of the command line; the parsers of its parts, which raise, get only some

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, and refuse a config that is not text."""
        if args:
            Parser.flags = [str(arg).partition("=")[0] for arg in args[0] or ()]
        try:
            return super().parse_args(*args, **kwargs)
        except UnicodeDecodeError as error:
            raise UsageError(f"--config must be a file of UTF-8 text, got something else ({error.reason})") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the command with the message alone, its cause first; the usage text is 50 lines long.

        Raises:
            UsageError: always.
        """
        line = _cause_first(message)
        key = line.partition(":")[0]
        # of a class's own setting it names the last part alone
        flag = next((flag[2:] for flag in self.flags if flag.endswith(f".{key}")), key)
        raise UsageError(f"{one_line(line.replace(key, flag, 1), 2_000)} (see --help)") from ex


def _cause_first(message: str) -> str:
    """Return jsonargparse's message; of one about a value that is of none of several types, what names the cause.

    A value that fits none has a reason for each type, and most are that it is of another.
    """
    found = UNION.search(message)
    if not found:
        return message
    key, errors, value = found.groups()
    reasons = re.findall(r"^ {4}- (.*?)(?: \(see --help\))?$", errors, re.MULTILINE)
    causes = [each for each in dict.fromkeys(reasons) if not each.startswith(("Expected a", "Not a valid subclass"))]
    name = f"{key}: " if key else ""
    if causes:
        return f"{name}{'; '.join(causes)}"
    kinds = [re.sub(r"Expected an? (?:<class '(?:\w+\.)*(\w+)'>)?", r"\1", each) for each in dict.fromkeys(reasons)]
    return f"{name}must be one of {', '.join(kinds).replace('NoneType', 'null')}, got {value}"


def prepared(args: list[str]) -> list[str]:
    """Return the arguments as the parser takes them.

    The configs come before all flags, so that a flag is never overridden by one; WandbLogger is this project's; None,
    which W&B's sweeps send, is null.
    """
    ours = "lenet_lightning.training.loggers.wandb.WandbLogger"
    named = [re.sub(r"^(--trainer\.logger\+?=)WandbLogger$", rf"\1{ours}", arg) for arg in args]
    named = [re.sub(r"^(--[\w.]+=)None$", r"\1null", arg) for arg in named]
    for at, arg in enumerate(named[1:], 1):
        if arg == "WandbLogger" and named[at - 1] in ("--trainer.logger", "--trainer.logger+"):
            named[at] = ours
        elif arg == "None" and named[at - 1].startswith("--") and "=" not in named[at - 1]:
            named[at] = "null"
    return _config_first(named)


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
