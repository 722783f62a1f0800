"""How processes on several machines find the first one: at the address that Lightning's cluster environment names."""

import hmac
import os
import secrets
import socket
import sys
import time
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
from lightning import Trainer
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # torch passes them on by a star

from lenet_lightning.errors import RunError, one_line

# others are waited for as long as torch waits; after 8 s a line says so, and then every 5 minutes
LIMIT_S, FIRST_LINE_S, NEXT_LINE_S = 1800, 8, 300

PAUSE_S = 0.1

# where the first process writes its own port and a secret: torchrun's store outlives a restart, a secret does not
KEY = "lenet_lightning"


class Patience:
    """How long to wait for other processes, in Python: a signal ends it at once, which torch would not hear.

    Args:
        where: the address and port at which they meet.
        says: whether this process says whom it waits for.
        limit_s: the most seconds.
    """

    def __init__(self, where: str, says: bool, limit_s: float = LIMIT_S) -> None:
        self._where = where
        self._says = says
        self._limit_s = limit_s
        self._begun = time.monotonic()
        self._line_s = FIRST_LINE_S

    def check(self, whom: str) -> None:
        """Print that `whom` is waited for, when it is time to.

        Raises:
            RunError: it did not come.
        """
        waited = time.monotonic() - self._begun
        if waited > self._limit_s:
            raise RunError(
                f"{self._where}: {whom} must come within {self._limit_s / 60:.0f} minutes, did not; "
                "start all processes of this training, with this address in each"
            )
        if self._says and waited > self._line_s:
            self._line_s += NEXT_LINE_S
            rest = f"for {(self._limit_s - waited) / 60:.0f} minutes more"
            print(f"waiting      for {whom}, to meet at {self._where}, {rest}", file=sys.stderr, flush=True)


class Door:
    """Where the first process lets the others in.

    Args:
        host: the address of this machine that the others know.
        port: what they know, too.
        patience: how long to wait until this machine answers at that address: a pod's name takes a while to resolve.

    Raises:
        RunError: the port is taken, or the address is not this machine's.
    """

    def __init__(self, host: str, port: int, patience: Patience) -> None:
        self._secret = secrets.token_hex()
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        self._listening = socket.create_server(
            ("", 0), family=family, backlog=1024, dualstack_ipv6=family == socket.AF_INET6
        )
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun itself keeps the store
        try:
            if not agent:
                # Python's refusal is one exception; torch's is that and a page on stderr
                with socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6):
                    while not _answers(host, port):
                        patience.check("this machine itself to answer")
                        time.sleep(PAUSE_S)
            # the process group's own store will share its server
            self._store = _store(host, port, not agent)
            self._store.set(KEY, f"{self._listening.getsockname()[1]} {self._secret}")
        except (OSError, RuntimeError) as error:
            raise RunError(
                f"{host}:{port}: must be a free port of this machine for the processes to meet at, got: "
                f"{one_line(error)}; pass another one as MASTER_PORT in all of them"
            ) from error

    def let_in(self) -> Connection | None:
        """Wait for one more process; return the connection to it, or None where it was a stranger."""
        stream, _ = self._listening.accept()
        connection = _connection(stream)
        try:
            if connection.poll(5) and hmac.compare_digest(connection.recv_bytes(1000), self._secret.encode()):
                connection.send_bytes(b"")
                return connection
        except (EOFError, OSError):
            pass
        connection.close()
        return None


def group_again(host: str, port: int, trainer: Trainer) -> None:
    """Make the process group of processes that torchrun has started again; of others Lightning makes it.

    torchrun's store outlives a restart, with the addresses of the processes before, which torch would take for those of
    today.
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts != "0":
        torch.distributed.init_process_group(
            torch.distributed.get_default_backend_for_device(trainer.strategy.root_device),
            store=PrefixStore(f"{KEY}/{restarts}", TCPStore(host, port, None, False, timedelta(seconds=LIMIT_S))),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )


def reach(host: str, port: int, patience: Patience) -> Connection:
    """Return a connection to the first process, once it is there.

    Raises:
        RunError: it did not come.
    """
    while True:
        try:
            return _reach(host, port)
        except (OSError, EOFError, RuntimeError):
            patience.check("the first process")
            time.sleep(PAUSE_S)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _reach(host: str, port: int) -> Connection:
    # torch's client prints a page on stderr whenever nobody listens yet
    if not _answers(host, port):
        raise ConnectionRefusedError
    store = _store(host, port, False)
    if not store.check([KEY]):
        raise ConnectionRefusedError
    door, secret = store.get(KEY).decode().split()
    connection = _connection(socket.create_connection((host, int(door)), 1))
    connection.send_bytes(secret.encode())
    if not connection.poll(5):
        raise ConnectionRefusedError
    connection.recv_bytes(1000)
    return connection


def _store(host: str, port: int, serves: bool) -> TCPStore:
    return TCPStore(host, port, None, serves, timedelta(seconds=5), wait_for_workers=False, multi_tenant=True)


def _connection(stream: socket.socket) -> Connection:
    stream.settimeout(None)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(stream.detach())
