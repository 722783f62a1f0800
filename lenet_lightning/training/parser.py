"""How a command line is parsed: flags override configs, and errors are one line."""

from typing import Any, NoReturn

from jsonargparse.typing import restricted_number_type
from lightning.pytorch.cli import LightningArgumentParser

from lenet_lightning.errors import UsageError, one_line

Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)], docstring="from 0 to below 1")
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="from 0 to 4,294,967,295")


class Parser(LightningArgumentParser):
    """A parser whose errors are one line."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, and refuse a config that is not text."""
        try:
            return super().parse_args(*args, **kwargs)
        except UnicodeDecodeError as error:
            raise UsageError(f"--config must be a file of UTF-8 text, got something else ({error.reason})") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the command with the message alone; the usage text is 50 lines long.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{one_line(message, 2_000)} (see --help)") from ex


def config_first(args: list[str]) -> list[str]:
    """Return the arguments with the configs before all flags, so that a flag is never overridden by one."""
    configs: list[str] = []
    others: list[str] = []
    rest = iter(args[1:])
    for arg in rest:
        if arg in ("--config", "-c"):
            configs += [arg, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            (configs if arg.startswith("--config=") else others).append(arg)
    return [*args[:1], *configs, *others]
