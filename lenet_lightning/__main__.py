"""The front door: answers `--help` and `--version` at once, and imports only what the command asked for needs."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version

from lenet_lightning.errors import RunError, UsageError

USAGE = """\
usage: lenet_lightning COMMAND [options]

LeNet-5 on MNIST in PyTorch Lightning.

commands:
  fit        train, then test the best checkpoint once
  validate   figures of a checkpoint on the validation digits
  test       figures of a checkpoint on the 10,000 test digits
  predict    the digit in each of your own pictures
  export     the trained network as .pth, .safetensors or ONNX
  demo       a page to draw digits on
  describe   the three networks: layers, parameters, connections
  dashboard  the runs on a terminal dashboard, with no account

options:
  -h, --help   this text; `COMMAND --help` lists what a command takes
  --version    the version
  --debug      with any command: show the traceback of an error

example:
  python -m lenet_lightning fit --config configs/default.yaml --trainer.max_epochs 5"""

# those that do without Lightning are modules with a `main`; the others are LightningCLI's
LIGHT = {
    "predict": "inference.predict",
    "export": "inference.export",
    "demo": "inference.demo",
    "describe": "inference.describe",
    "dashboard": "training.dashboard",
}
COMMANDS = ("fit", "validate", "test", *LIGHT)

# from a signal to the end of a training, whatever does not answer: W&B's server, a disk
GRACE_S = 8


def main(args: list[str] | None = None) -> int:
    """Run a command line and give its exit code.

    0, 1 (failed), 2 (asks for what cannot be), 130 (Ctrl-C), 141 (nobody reads the output), 143 (SIGTERM).
    """
    args = sys.argv[1:] if args is None else list(args)
    debug = "--debug" in args
    if debug:
        args.remove("--debug")
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:
        if stop.code not in (130, 143):
            raise
        kept = "; what was finished is kept, and goes on with: fit --ckpt_path last" if args[0] == "fit" else ""
        # of several processes, one says it; a light command has nothing to say
        if args[0] not in LIGHT and os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"\n{'interrupted' if stop.code == 130 else 'stopped by SIGTERM'}{kept}", file=sys.stderr)
        return stop.code
    except BrokenPipeError:
        # whoever read the output has enough; Python would complain when it flushes the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            raise
        if isinstance(error, UsageError | RunError):
            print(f"error: {error}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1
        reason = " ".join(str(error).split())
        print(f"error: {type(error).__name__}: {reason}; --debug shows where", file=sys.stderr)
        return 1


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if args else 2
    if args[0] == "--version":
        print(f"lenet_lightning {version('lenet_lightning')}")
        return 0
    if args[0] not in COMMANDS:
        raise UsageError(f"{args[0]}: no such command; there are {', '.join(COMMANDS)} (see --help)")
    if args[0] in LIGHT:
        # what is unfinished is removed on the way out
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return import_module(f"lenet_lightning.{LIGHT[args[0]]}").main(args[1:])
    with _ending_on_signals():
        from lenet_lightning.training import cli

        cli.main(args)
    return 0


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """End on SIGTERM with 143, on Ctrl-C with 130: at once, at latest after GRACE_S; on a second signal right away.

    Lightning would finish a batch or a whole validation first, exit with 0 or 1, and ignore a second Ctrl-C. There is
    nothing to finish: what is kept is written at an epoch's end, whole or not at all.
    """
    ending = False

    def end(number: int, _: object) -> None:
        nonlocal ending
        code = 128 + number
        if ending:
            os._exit(code)
        ending = True
        deadline = threading.Timer(GRACE_S, os._exit, [code])
        deadline.daemon = True
        deadline.start()
        raise SystemExit(code)

    # of several processes the first ends the others: a terminal's Ctrl-C reaches all
    on_ctrl_c = end if os.environ.get("LOCAL_RANK", "0") == "0" else signal.SIG_IGN
    handlers = {signal.SIGINT: on_ctrl_c, signal.SIGTERM: end}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        if not ending:
            for number, handler in before.items():
                signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
