"""How the process of a command begins and ends."""

import os
import subprocess
import sys
from typing import Any

import pytest

# a command that registers something for the end and leaves its last line in the buffer, as Lightning's and W&B's do
COMMAND = """
import atexit, gc, sys
from lenet_lightning import __main__ as entry
from lenet_lightning.inference import predict

def command(args):
    atexit.register(lambda: print("registered", end=""))
    print("collects" if gc.isenabled() else "does not", "and keeps" if gc.get_freeze_count() > 1000 else "", end=" ")
    {}

predict.main = command
sys.argv = ["lenet_lightning", "predict"]
entry.run()
"""


def outcome(command: str, **where: Any) -> subprocess.CompletedProcess[str]:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", command], stderr=subprocess.PIPE, text=True, timeout=60, env=buffered, **where
    )


@pytest.mark.parametrize(
    ("ends", "code"), [("return 0", 0), ("return 3", 3), ("sys.exit(2)", 2), ("sys.exit()", 0), ("1 / 0", 1)]
)
def test_what_is_registered_for_the_end_is_done_and_the_code_is_the_commands(ends: str, code: int) -> None:
    done = outcome(COMMAND.format(ends), stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (code, "collects and keeps registered")
    assert done.stderr == ("" if code != 1 else "error: ZeroDivisionError: division by zero; --debug shows where\n")


def test_output_that_cannot_be_written_at_the_end_is_no_success() -> None:
    only_at_the_end = "\n".join(line for line in COMMAND.splitlines() if '"collects"' not in line)
    with open("/dev/full", "w") as full:
        done = outcome(only_at_the_end.format("return 0"), stdout=full)
    assert done.returncode == 120 and "No space left on device" in done.stderr  # the interpreter's own code for that
