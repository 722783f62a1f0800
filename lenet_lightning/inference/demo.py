"""The drawing page: draw a digit in the browser and see how the network reads it."""

import argparse
import errno
import os
import socket
import sys
from pathlib import Path

from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError, one_line
from lenet_lightning.inference.recognizer import Recognizer


def main(args: list[str]) -> int:
    """Serve a page to draw digits on, until Ctrl-C.

    Raises:
        UsageError: the `demo` extra is not installed; the port is out of range; the host is not an address of this
            machine; as Recognizer.
        RunError: the port is taken or not allowed; as Recognizer.
    """
    parser = Parser("demo", main.__doc__)
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[None],
        metavar="FILE",
        help="weights, the page has a menu of several (default: the newest run's, or those of the package)",
    )
    parser.add_argument(
        "--insist", action="store_true", help="use weights of others even if they misread MNIST's validation digits"
    )
    parser.add_argument(
        "--port", type=_port, default=7860, help="where the page is served, 0 for any free one (default: 7860)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="an address of this machine; any but 127.0.0.1 opens the page to others"
    )
    options = parser.parse_args(args)
    try:
        # the port first: the imports that follow take seconds
        with _listen(options.host, options.port) as listening:
            try:
                from lenet_lightning.inference import server
            except ModuleNotFoundError as error:
                raise UsageError(f"demo needs {error.name}: pip install 'lenet_lightning[demo]'") from error
            recognizers = [Recognizer(weights, insist=options.insist) for weights in options.weights]
            if options.host not in server.LOCAL:
                print(f"warning: --host {options.host}: whoever can reach it can use the page", file=sys.stderr)
            host = f"[{options.host}]" if ":" in options.host else options.host
            print(f"draw on http://{host}:{listening.getsockname()[1]} (Ctrl-C stops it)", flush=True)
            server.serve(recognizers, options.host, listening)
    except KeyboardInterrupt:  # the usual way to stop
        return 130
    return 0


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {one_line(value)}")
    return int(value)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", 0)
        if number not in (errno.EADDRINUSE, errno.EACCES):
            raise UsageError(
                f"--host must be an address of this machine, e.g. 127.0.0.1, got {one_line(host)}"
            ) from error
        raise RunError(f"port {port} on {host}: {os.strerror(number)}; choose another with --port") from error
