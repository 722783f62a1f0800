"""The processes that train together: which is the first, what it tells the others, and how one's failure ends all.

Lightning's cluster environment alone knows who is who, whatever launched the processes. They are connected before
there is a process group, so that the settings and the checkpoint can be the first one's, and beside it, so that the
reason of a failure comes through.
"""

import json
import os
import pydoc
import queue
import socket
import sys
import threading
import time
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lightning import Trainer
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from lenet_lightning import signals
from lenet_lightning.errors import RunError, UsageError, one_line, printable
from lenet_lightning.training.meeting import PAUSE_S, Door, Patience, group_again, reach

# how long one that fails waits for the others to hear of it, and one that hangs in a collective lives on after that
HEARD_S, END_S = 5, 10

# what a message is, by its first byte
VALUE, READY, FAILED, HEARD, BYE = b"v", b"r", b"f", b"h", b"b"

Value = TypeVar("Value")


class Peers:
    """This process among those that train together.

    Args:
        trainer: the settings of the trainer as this process was given them, or None where they are unknown.
    """

    def __init__(self, trainer: Any = None) -> None:
        here = self._environment = _environment(trainer and trainer.plugins)
        # without a port Lightning would invent one, at which nobody can be
        alone = isinstance(here, LightningEnvironment) and "MASTER_PORT" not in os.environ
        self.first = alone or here.node_rank() == here.local_rank() == 0
        self._launched = here.creates_processes_externally and not alone
        self._together = not self.first
        self._own = False  # whether all others are started by this process
        # as far as is known; where there is a port to meet at, somebody is expected
        free = 0 if alone else max(trainer.num_nodes if trainer else 2, 2) - 1
        self._others = free if isinstance(here, LightningEnvironment) else here.world_size() - 1
        self._name = f"process {here.node_rank()}.{here.local_rank()} on {socket.gethostname()}"
        self._door: Door | None = None
        self._lock = threading.Lock()
        self._said: list[bytes] = []
        self._connections: list[Connection] = []
        self._parted = 0
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._failure: dict[str, Any] | None = None
        self._heard = threading.Event()
        self._ending = False

    def open(self, trainer: Trainer) -> None:
        """Let the others in, if `trainer` counts more processes than one.

        Raises:
            UsageError: the trainer takes another process for the first one.
            RunError: the port to meet at is taken.
        """
        forks = isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)
        self._together = trainer.world_size > 1 and not forks
        if not self._together:
            self._others = 0
            return
        self._name = f"process {trainer.global_rank} on {socket.gethostname()}"
        if trainer.is_global_zero != self.first:
            raise UsageError(
                f"trainer.strategy: its cluster environment must be the one that was found, got another for "
                f"{self._name}; pass it as trainer.plugins"
            )
        self._environment = trainer.strategy.cluster_environment  # type: ignore[attr-defined]  # of all with a launcher
        self._others = (trainer.world_size if self._launched else trainer.num_nodes) - 1
        self._own = not self._others
        if self.first:
            self._let_in(self._patience())

    @property
    def alone(self) -> bool:
        """Whether no other process trains with this one, in a process of its own."""
        return not self._together

    def agree(self, value: Value) -> Value:
        """Return the first process's `value` in all of them; JSON must be able to hold it."""
        if not self._together:
            return value
        if self.first:
            self._say(VALUE + json.dumps(value).encode())
            return value
        return json.loads(self._hear())

    def agree_on_bytes(self, content: bytes) -> bytes:
        """Return the first process's `content` in all of them."""
        if self._together and self.first:
            self._say(VALUE + content)
        return content if self.first else self._hear()

    def meet(self, trainer: Trainer) -> None:
        """Launch the other processes where Lightning does that, and wait until all are ready to train.

        Raises:
            UsageError: one of them refused.
            RunError: one of them failed or did not come.
        """
        if self._together and trainer.strategy.launcher:
            trainer.strategy.launcher.launch(self._meet, trainer.world_size, trainer=trainer)
            group_again(self._environment.main_address, self._environment.main_port, trainer)

    def part(self) -> None:
        """Wait until the first process is done, or until the others have heard that it is."""
        if self._together:
            self.agree(None)
            self._ending = True
            if self.first:
                patience = self._patience()
                while len(self._connections) < self._others:
                    patience.check(f"{self._others - len(self._connections)} of {self._others + 1} processes")
                    time.sleep(PAUSE_S)
                self._linger()
            else:
                self._say(BYE)

    def failure(self, hint: str = "") -> Exception | None:
        """Return why another process ended, with `hint` at the end, if it said so."""
        if self._connections and not self._failure:
            time.sleep(2 * PAUSE_S)  # it says so before it is missed, but on another way
        if not self._failure or not self._failure["reason"]:
            return None
        kind = UsageError if self._failure["code"] == 2 else RunError
        return kind(f"{self._failure['reason']} ({self._failure['who']}){hint}")

    def fail(self, error: BaseException) -> BaseException:
        """Tell the others why this process ends.

        Returns:
            What it ends with: in one process of all, this is what is printed.
        """
        self._ending = True
        if isinstance(error, signals.Stopped):
            error.reported = not self.first
            self._say(self._last_words(f"stopped by {error.name}", 1))
        elif isinstance(error, Exception):
            code = 2 if isinstance(error, UsageError) else 1
            known = isinstance(error, UsageError | RunError)
            if not self._connections and not self._door and self._others:
                with suppress(RunError):  # it failed before they met
                    patience = Patience("", False, HEARD_S)
                    self._let_in(patience) if self.first else self._reach(patience)
            words = self._last_words(str(error) if known else f"{type(error).__name__}: {one_line(error)}", code)
            if self.first:
                self._say(words)
                self._linger()
            elif self._failure and self._failure["reason"]:
                return SystemExit(self._failure["code"])
            else:
                self._say(words)
                end = time.monotonic() + HEARD_S * bool(self._connections)
                while not self._parted and not self._heard.wait(PAUSE_S) and time.monotonic() < end:
                    if self._failure:
                        break
                if self._heard.is_set():
                    return SystemExit(code)
                if self._failure and self._failure["reason"]:  # both failed at once: the first prints its own
                    return SystemExit(self._failure["code"])
        return error

    def _last_words(self, reason: str, code: int) -> bytes:
        return FAILED + json.dumps({"reason": reason, "code": code, "who": self._name}).encode()

    def _patience(self) -> Patience:
        where = f"{self._environment.main_address}:{self._environment.main_port}"
        return Patience(where, says=self._environment.local_rank() == 0 and not self._own)

    def _meet(self, processes: int) -> None:
        self._others, patience, ready = processes - 1, self._patience(), 0
        if not self.first:
            self._say(READY)
            self._hear(patience)
            return
        while ready < self._others:
            try:
                self._inbox.get(timeout=PAUSE_S)
                ready += 1
            except queue.Empty:
                self._check()
                patience.check(f"{self._others - ready} of {processes} processes")
        self.agree(None)

    def _hear(self, patience: Patience | None = None) -> bytes:
        self._reach(self._patience())
        while True:
            try:
                return self._inbox.get(timeout=PAUSE_S)
            except queue.Empty:
                self._check()
                if patience:
                    patience.check("the other processes")

    def _check(self) -> None:
        if self._failure:
            raise self.failure() or RunError("trainer.devices: all processes must live, one ended without a word")

    def _say(self, message: bytes) -> None:
        with self._lock:
            self._said.append(message)
            for connection in self._connections:
                with suppress(OSError):  # its end is noticed where it is read from
                    connection.send_bytes(message)

    def _linger(self) -> None:
        end = time.monotonic() + HEARD_S
        while self._parted < self._others and time.monotonic() < end:
            time.sleep(PAUSE_S / 10)

    def _let_in(self, patience: Patience) -> None:
        self._door = Door(self._environment.main_address, self._environment.main_port, patience)
        threading.Thread(target=self._welcome, args=(self._door,), daemon=True).start()

    def _welcome(self, door: Door) -> None:
        while True:
            if connection := door.let_in():
                self._connect(connection)

    def _reach(self, patience: Patience) -> None:
        if not self._connections:
            self._connect(reach(self._environment.main_address, self._environment.main_port, patience))

    def _connect(self, connection: Connection) -> None:
        with self._lock, suppress(OSError):
            for message in self._said:
                connection.send_bytes(message)
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):
            while (message := connection.recv_bytes()) != BYE:
                kind, content = message[:1], message[1:]
                if kind == HEARD:
                    self._heard.set()
                elif kind == FAILED:
                    self._fails(json.loads(content))
                    if self.first and not self._ending:
                        connection.send_bytes(HEARD)  # so this one prints it
                        self._say(message)
                else:
                    self._inbox.put(content)
            self._parted += 1
            return
        self._parted += 1
        self._fails({"reason": "", "code": 1, "who": ""})

    def _fails(self, failure: dict[str, Any]) -> None:
        """Note that another process failed, and end this one if it does not do so by itself."""
        if not self._failure:
            self._failure = failure
            if not self._ending:
                timer = threading.Timer(END_S, self._end)
                timer.daemon = True
                timer.start()

    def _end(self) -> None:
        if not self._ending:
            print(f"error: {printable(self.failure() or 'a process of this training ended')}", file=sys.stderr)
            sys.stdout.flush()
            signals.end(self._failure["code"] if self._failure else 1)


def _environment(plugins: Any) -> ClusterEnvironment:
    """Return the cluster environment that Lightning will choose."""
    for plugin in plugins if isinstance(plugins, list) else [plugins]:
        kind = pydoc.locate(getattr(plugin, "class_path", "")) if plugin else None
        if isinstance(kind, type) and issubclass(kind, ClusterEnvironment):
            return kind(**plugin.get("init_args", {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the trainer will say the same
        for each in (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment):
            if each.detect():
                return each()
    return LightningEnvironment()
