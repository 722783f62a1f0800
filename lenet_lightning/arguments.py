"""The parser of the commands that need no Lightning."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from lenet_lightning import completion
from lenet_lightning.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations, and with errors of one line."""

    def __init__(self, command: str, docstring: str | None) -> None:
        # there are no docstrings with PYTHONOPTIMIZE=2
        description = docstring and docstring.splitlines()[0]
        super().__init__(prog=f"lenet_lightning {command}", description=description, allow_abbrev=False)

    def parse_args(  # type: ignore[override]  # one of argparse's forms
        self, args: Sequence[str]
    ) -> argparse.Namespace:
        """Return the options; where a shell asks for it, complete them and exit."""
        if completion.enter():
            import argcomplete

            argcomplete.autocomplete(self)
        return super().parse_args(args)

    def error(self, message: str) -> NoReturn:
        """End the command with the message alone.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message} (see {self.prog.split()[-1]} --help)")
