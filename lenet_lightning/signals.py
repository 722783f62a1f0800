"""The only owner of SIGINT, SIGTERM and SIGHUP, each of which ends the process with 128 + its number, whatever hangs.

In a Slurm job of SIGUSR1, too: the warning, by `--signal=USR1@90`, that the job will end.
"""

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, Protocol, TypeAlias

# from the first signal to the end of the process, whatever does not answer: a server, a disk, another process
GRACE_S = 8

# a signal that follows sooner is the same one: `timeout` and some supervisors send each twice
SAME_S = 0.2

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

# in the environment of the processes that a first process starts: its process id
_FIRST = "LENET_LIGHTNING_FIRST_PROCESS"


Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None


class Launcher(Protocol):
    """What started the other processes of a training, e.g. Lightning's launchers."""

    def kill(self, signum: int) -> None:
        """Send a signal to each process that still runs."""


class Stopped(SystemExit):
    """A signal asked the process to end: raised in the main thread."""

    code: int

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name
        self.reported = False  # by another process of the same training


_launchers: list[Launcher] = []
_warned: list[Callable[[], None]] = []
_warning = threading.Event()
_handlers: dict[int, Handler] = {}


@contextmanager
def ending() -> Iterator[None]:
    """Raise Stopped on SIGINT, SIGTERM and SIGHUP; end the process at the second, or GRACE_S after the first.

    A thread ends it: the interpreter's C handler wakes that thread even while the main thread hangs in C code, where no
    Python handler runs. A signal that was inherited as ignored (nohup, a shell's background jobs) stays so.

    Of several processes, those that the first one started leave the terminal's signals to it, and end with it.
    """
    parent = os.getppid()
    follows = os.environ.get(_FIRST) == str(parent)
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        if before[number] != signal.SIG_IGN:
            _handlers[number] = signal.SIG_IGN if follows and number != signal.SIGTERM else _stop
    if "SLURM_JOB_ID" in os.environ:
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, _warn)  # it would kill
    awaited, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    wakeup_before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(awaited, parent, follows), daemon=True).start()
    os.environ[_FIRST] = str(os.getpid())
    reclaim()
    try:
        yield
    except BaseException as error:
        _end_others()
        if isinstance(error, Stopped):
            wakeup.detach()  # what is left to do, at the interpreter's end too, must not hang either
        else:
            _restore(before, wakeup_before, wakeup)
        raise
    _restore(before, wakeup_before, wakeup)


def reclaim() -> None:
    """Install the handlers again that a package replaced: Lightning's lets several processes wait for each other."""
    for number, handler in _handlers.items():
        signal.signal(number, handler)


def when_warned(act: Callable[[], None]) -> None:
    """Call `act` when Slurm warns that the job will end; now, if it did already."""
    _warned.append(act)
    if _warning.is_set():
        act()


def end_together(launcher: Launcher | None) -> None:
    """Kill the processes of `launcher` whenever this one fails or is stopped."""
    if launcher:
        _launchers.append(launcher)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise Stopped(number)


def _warn(_number: int, _: FrameType | None) -> None:
    _warning.set()
    for act in _warned:
        act()


def _restore(before: dict[int, Handler], wakeup_before: int, wakeup: socket.socket) -> None:
    signal.set_wakeup_fd(wakeup_before)
    wakeup.close()  # which ends the thread
    for number, handler in before.items():
        signal.signal(number, handler)
    for each in (_handlers, _launchers, _warned):
        each.clear()
    del os.environ[_FIRST]


def _watch(awaited: socket.socket, parent: int, follows: bool) -> None:
    launched = follows or "TORCHELASTIC_RUN_ID" in os.environ  # torchrun's
    code, first, deadline = 0, math.inf, math.inf
    while (now := time.monotonic()) < deadline:
        if launched and os.getppid() != parent:
            launched = False
            os.kill(os.getpid(), signal.SIGTERM)  # killed, it can end nobody
        awaited.settimeout(min(1.0, deadline - now))
        try:
            byte = awaited.recv(1)
        except TimeoutError:
            continue
        if not byte:
            awaited.close()
            return
        number, now = byte[0], time.monotonic()
        if number not in _handlers:
            continue
        if follows:
            # it writes nothing; at any code but 0 Lightning kills the first process, too
            os._exit(0)
        if now > first + SAME_S:
            break
        code, deadline = 128 + number, min(deadline, now + GRACE_S)
        # a server with handlers of its own, like the demo's, raises the signal once more when it is done
        if signal.getsignal(number) is _stop:
            first = min(first, now)
    end(code)


def end(code: int) -> NoReturn:
    """End this process, and those of its launchers, whatever hangs in it."""
    try:
        _end_others()
    finally:
        os._exit(code)


def _end_others() -> None:
    # they write nothing, so nothing is lost; a frozen process would not answer anything milder
    for launcher in _launchers:
        launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))


if hasattr(os, "register_at_fork"):
    # a signal to a forked process is none to this one
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
