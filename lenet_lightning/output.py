"""Standard streams that neither end a training when they fail nor print what an encoding lacks."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Lasting:
    """A text stream that drops its text, rather than raise, after the first failed write.

    Args:
        stream: where the text goes.
        notice: what to print on stderr, once, when that fails.
    """

    def __init__(self, stream: Any, notice: str | None = None) -> None:
        self._stream = stream
        self._notice = notice

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what was not yet written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        discard(self._stream)
        if self._notice:
            print(f"{self._notice}: {error.strerror}", file=sys.stderr, flush=True)


def discard(stream: Any) -> None:
    """Redirect the stream to nowhere: what is still in its buffer and whatever follows."""
    with suppress(OSError):  # a stream without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def robust(lasting: bool) -> Iterator[None]:
    """Escape what an encoding lacks, open what is closed, keep stderr (if `lasting`, stdout) alive without a reader."""
    before = sys.stdout, sys.stderr
    for descriptor in range(3):
        _open(descriptor)
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # print would take a missing stderr for stdout
    sys.stderr = Lasting(sys.stderr or open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process
    if lasting:
        notice = "stdout cannot be written, the training continues without it"
        sys.stdout = Lasting(sys.stdout or open(os.devnull, "w"), notice)  # noqa: SIM115 - as stderr
    try:
        yield
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except OSError:
                discard(stream)  # the interpreter would try once more, and complain
        sys.stdout, sys.stderr = before


def _open(descriptor: int) -> None:
    """Open a standard descriptor that is closed: else the next file takes its number, and what others print."""
    try:
        os.fstat(descriptor)
    except OSError:
        # the lowest that is free
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
