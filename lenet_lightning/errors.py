"""What ends a command: its message is the one line the user reads, its class the exit code."""


class UsageError(Exception):
    """The command or its config asks for what cannot be: unknown, out of range, or naming what is not there. Exit 2."""


class RunError(Exception):
    """It is there, but damaged, unreachable or unwritable, or the training failed. Exit 1."""
