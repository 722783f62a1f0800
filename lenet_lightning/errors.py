"""Exceptions that end a command, and how text from outside appears in a message."""

import errno
import shlex

MOST_CHARACTERS = 300

_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EACCES: "ask for the right to write",
    errno.EPERM: "ask for the right to write",
    errno.EROFS: "mount it for writing",
    errno.EIO: "check the disk",
}


class UsageError(Exception):
    """The command or its config asks for something invalid: unknown, out of range or a missing file. Exit 2."""


class RunError(Exception):
    """A file or folder is damaged, unreachable or unwritable, or the training failed. Exit 1."""


def printable(text: object) -> str:
    """Return `text` with every control character, line break and invisible sign escaped."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))


def remedy(error: OSError, *others: str) -> str:
    """Return what helps where a file cannot be written: what the cause suggests, or else one of `others`."""
    return ", or ".join([*filter(None, [_REMEDIES.get(error.errno or 0)]), *others])


def pasted(path: object) -> str:
    """Return a path as one word of a shell command that a message shows for pasting."""
    return shlex.quote(printable(path))


def one_line(text: object, most: int = MOST_CHARACTERS) -> str:
    """Return text from a file, a name, a server or a package's exception as one printable line.

    Whatever enters a message from outside passes this function: white space is collapsed, control characters are
    escaped, and what exceeds `most` characters is cut.
    """
    # cut first: a hostile text may have megabytes
    line = printable(" ".join(str(text)[: 4 * most].split()))
    return line if len(line) <= most else f"{line[: most - 4]} ..."
