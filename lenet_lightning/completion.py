"""Completion of a command line in a shell: argcomplete asks through variables, and answers for each parser."""

import argparse
import os
from collections.abc import Iterable

ASKED = "_ARGCOMPLETE"  # set by the shell: which word is the program's name, from 1


def command(commands: Iterable[str]) -> list[str]:
    """Return the command whose options are to be completed, whose parser does; without one, complete it and exit."""
    program = int(os.environ[ASKED])
    words = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split()
    ended = os.environ["COMP_LINE"][int(os.environ["COMP_POINT"]) - 1 :][:1] == " "
    if len(words) + ended > program + 1:
        return [words[program]]
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=tuple(commands))
    parser.add_argument("--version", action="store_true")
    import argcomplete

    argcomplete.autocomplete(parser)
    return []


def enter() -> bool:
    """Return whether a shell asks for a command's options; what its parser takes then begins after the command."""
    if ASKED not in os.environ:
        return False
    os.environ[ASKED] = str(int(os.environ[ASKED]) + 1)
    return True
