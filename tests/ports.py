"""Ports for processes that a test starts."""

import random
import socket
from contextlib import ExitStack

BELOW_OUTGOING = range(20_000, 32_768)  # Linux gives outgoing connections 32768 and up, macOS 49152 and up


def free_ports(count):
    """Return `count` ports of this machine that no other process listens at.

    The kernel's own choice (a bind to port 0) is one that it gives to outgoing connections too: until the
    process that a test starts has imported torch and listens there, such a connection may have taken it.
    """
    ports = []
    with ExitStack() as held:
        while len(ports) < count:
            port = random.choice(BELOW_OUTGOING)
            try:
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            ports.append(port)
    return ports
