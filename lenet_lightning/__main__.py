"""Dispatch and exit codes: answers `--help` and `--version` at once, and imports only what the command needs."""

import atexit
import gc
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from lenet_lightning import completion, output, signals
from lenet_lightning.errors import RunError, UsageError, one_line, printable

USAGE = """\
usage: lenet_lightning COMMAND [options]

LeNet-5 on MNIST in PyTorch Lightning.

commands:
  fit        train, then test the best checkpoint once
  validate   metrics of a checkpoint on the validation samples
  test       metrics of a checkpoint on the 10,000 test samples
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

# those without Lightning are modules with a `main`; the others are LightningCLI's
LIGHT = {
    "predict": "inference.predict",
    "export": "inference.export",
    "demo": "inference.demo",
    "describe": "historical.describe",
    "dashboard": "training.dashboard",
}
COMMANDS = ("fit", "validate", "test", *LIGHT)


def run() -> NoReturn:
    """Run the command line of this process, and end it."""
    status = 1

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
        # to free the objects of Lightning's thousands of modules, one by one, would take two seconds
        os._exit(status)

    atexit.register(leave)  # the first to be registered is called last
    gc.disable()  # until all is imported that stays: to search it for garbage takes a sixth of that time
    try:
        status = main()
    except SystemExit as stop:  # a parser's, after --help
        status = stop.code if isinstance(stop.code, int) else bool(stop.code)
    sys.exit(status)


def main(args: list[str] | None = None) -> int:
    """Run a command line and return its exit code.

    0, 1 (failed), 2 (invalid command or config), 129 (terminal closed), 130 (Ctrl-C), 141 (the reader of the output
    is gone; fit continues), 143 (SIGTERM).
    """
    args = sys.argv[1:] if args is None else list(args)
    if completion.ASKED in os.environ:
        args = completion.command(COMMANDS)
    debug = "--debug" in args
    if debug:
        args.remove("--debug")
    command = args[0] if args else None
    # a notebook's backend would not import; pictures are only drawn into files
    os.environ["MPLBACKEND"] = "agg"
    if "OMP_WAIT_POLICY" not in os.environ:
        # where others work, a thread that spins while it waits takes the core from the one that it waits for; OpenMP's
        # own count is 300,000, and with none at all a step takes longer where nobody else works
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    with output.robust(lasting=command == "fit"):
        try:
            code = _run(args)
            if sys.stdout:
                sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            return 130
        except signals.Stopped as stop:
            # of several processes, one reports it; the other commands have nothing to add
            if command not in LIGHT and not stop.reported:
                how = "interrupted" if stop.name == "SIGINT" else f"stopped by {stop.name}"
                _print("\n" + "; ".join([how, *getattr(stop, "__notes__", ())]))
            return stop.code
        except SystemExit as stop:
            # rich's answer to a reader that is gone; the other one is a parser's, after --help
            if isinstance(stop.__context__, BrokenPipeError):
                return 141
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and command != "fit":
                return 141
            if debug:
                _print(traceback.format_exc())
            elif isinstance(error, UsageError | RunError):
                _print(f"error: {error}")
            else:
                _print(f"error: {type(error).__name__}: {one_line(error)}; --debug shows where")
            return 2 if isinstance(error, UsageError) else 1


def _print(message: str) -> None:
    for line in message.split("\n"):
        print(printable(line), file=sys.stderr)


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if args else 2
    if args[0] == "--version":
        print(f"lenet_lightning {version('lenet_lightning')}")
        return 0
    if args[0] not in COMMANDS:
        raise UsageError(f"{args[0]}: no such command; there are {', '.join(COMMANDS)} (see --help)")
    with signals.ending():
        if args[0] in LIGHT:
            light = import_module(f"lenet_lightning.{LIGHT[args[0]]}")
            _imported()
            return light.main(args[1:])
        # pydantic searches all modules for the source of each of its classes: half a second less while there are few
        with suppress(Exception):  # an invalid variable: the logger reports it later and ignores it
            import_module("wandb.apis.public")
        recipes, cli = map(import_module, ("lenet_lightning.recipes", "lenet_lightning.training.cli"))
        _imported()
        cli.main(args, recipes.classifier, recipes.mnist, recipes.DEFAULT_CONFIG)
    return 0


def _imported() -> None:
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


if __name__ == "__main__":
    run()
