"""A training does not depend on its text; no text from outside reaches the terminal as anything but text."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from lenet_lightning.__main__ import main
from tests.faults.conftest import SHORT, the_run

COMMAND = [sys.executable, "-m", "lenet_lightning"]
EPOCHS = 3


def run(on_fakes, folder, *args, shell="", limit_s=90, **environment):
    """Exit code, stdout, stderr of a command line whose descriptors a shell has set up first."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *COMMAND, *args]
    environment = on_fakes | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=limit_s, check=False)
    out, err = done.stdout.decode(), done.stderr.decode()
    print(out, err)
    return done.returncode, out, err


def assert_complete(folder):
    run = the_run(folder)
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + EPOCHS
    assert (run / "weights.safetensors").exists()


NOTICE = "stdout cannot be written, the training continues without it: "
BROKEN = {
    "stdout is full": (">/dev/full", NOTICE + "No space left on device\n"),
    "stdout is closed": (">&-", ""),
    "stderr is closed": ("2>&-", ""),
    "stderr is full": ("2>/dev/full", ""),
    "both are full": (">/dev/full 2>&1", ""),
    "all are closed": ("<&- >&- 2>&-", ""),
}


@pytest.mark.parametrize(("shell", "said"), BROKEN.values(), ids=BROKEN)
def test_16_a_training_ends_well_though_its_output_is_broken(on_fakes, tmp_path, shell, said):
    code, _, err = run(on_fakes, tmp_path, "fit", *SHORT, shell=shell)
    assert (code, err) == (0, said)
    assert_complete(tmp_path)


@pytest.mark.parametrize("read", [0, 2])
def test_16_a_training_ends_well_though_nobody_reads_its_output(process, tmp_path, read):
    begun = process("fit", *SHORT)
    for _ in range(read):
        begun.stdout.readline()
    begun.stdout.close()  # as `head` does
    assert begun.stderr.read() == NOTICE + "Broken pipe\n"
    assert begun.wait(60) == 0
    assert_complete(tmp_path)


def terminal(columns=80):
    """The two ends of one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def read_all(ours):
    text = b""
    while True:
        try:
            text += (part := os.read(ours, 65536))
        except OSError:  # Linux's end of a terminal
            part = b""
        if not part:
            return text


def on_terminal(on_fakes, folder, theirs, *args, **environment):
    """Start a command line on a terminal of its own, deaf to SIGHUP as after nohup."""
    begin = "import os, fcntl, termios, sys; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0); "
    begin += "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    environment = on_fakes | {"OMP_NUM_THREADS": "1", "TERM": "xterm"} | environment
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    begun = subprocess.Popen([sys.executable, "-c", begin, *COMMAND, *args], cwd=folder, env=environment, **streams)
    os.close(theirs)
    return begun


def test_16_a_training_outlives_its_terminal(on_fakes, tmp_path):
    ours, theirs = terminal()
    begun = on_terminal(on_fakes, tmp_path, theirs, "fit", *SHORT)
    text = b""
    while b"epoch 1/3" not in text:
        text += os.read(ours, 65536)
    os.close(ours)
    assert begun.wait(60) == 0
    assert_complete(tmp_path)


TERMINALS = {
    "no width": (0, {}),
    "a column": (1, {}),
    "a wide one": (20_000, {}),
    "dumb": (80, {"TERM": "dumb"}),
    "without colours": (80, {"NO_COLOR": "1"}),
    "without signs": (80, {"PYTHONIOENCODING": "ascii"}),
}


@pytest.mark.parametrize(("columns", "environment"), TERMINALS.values(), ids=TERMINALS)
def test_16_any_terminal_will_do(on_fakes, tmp_path, columns, environment):
    ours, theirs = terminal(columns)
    begun = on_terminal(on_fakes, tmp_path, theirs, "fit", *SHORT, **environment)
    text = read_all(ours)
    os.close(ours)
    print(text)
    assert begun.wait(60) == 0
    assert b"epoch 3/3" in text
    assert b"Traceback" not in text
    if "PYTHONIOENCODING" in environment:
        assert text.isascii()
        assert b"\\u2501" not in text  # the bar has signs of its own for that
    assert_complete(tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_16_what_the_encoding_lacks_is_escaped(on_fakes, tmp_path, encoding):
    options = (*SHORT, "--trainer.max_epochs=1", "--trainer.default_root_dir=七")
    code, out, err = run(on_fakes, tmp_path, "fit", *options, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert ("七" if encoding == "utf-8" else "\\u4e03") in out
    code, out, err = run(on_fakes, tmp_path, "describe", "--network", "七", PYTHONIOENCODING=encoding)
    assert (code, out) == (2, "")
    assert ("七" if encoding == "utf-8" else "\\u4e03") in err


@pytest.mark.parametrize("command", ["--help", "--version", "describe"])
def test_16_the_other_commands_are_nothing_without_output(on_fakes, tmp_path, command):
    code, _, err = run(on_fakes, tmp_path, command, shell=">/dev/full")
    assert code == 1
    (line,) = err.splitlines()
    assert "No space left on device" in line
    ours, theirs = os.pipe()
    os.close(ours)
    pipes = {"stdout": theirs, "stderr": subprocess.PIPE}
    done = subprocess.run([*COMMAND, command], cwd=tmp_path, env=on_fakes, **pipes, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


def test_16_nothing_for_stderr_enters_stdout_when_that_is_closed(on_fakes, tmp_path):
    code, out, _ = run(on_fakes, tmp_path, "predict", "--json", "missing.png", "data", shell="2>&-")
    assert (code, out) == (2, "")
    (tmp_path / "a.png").write_text("no picture")
    code, out, _ = run(on_fakes, tmp_path, "predict", "--json", "a.png", shell="2>&-")
    assert code == 1
    assert [row["picture"] for row in json.loads(out)] == ["a.png"]


def test_16_nothing_of_what_the_machine_has_besides_stands_above_the_first_line(start, tmp_path):
    """Slurm's client outside of a job, and a GPU that is not used, of both of which Lightning warns."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "srun").chmod(0o755)
    for command in (("fit", *SHORT), ("validate",)):
        running = start(tmp_path, *command, "--trainer.accelerator=cpu", fault=("beside_slurm_and_a_gpu", "bin"))
        assert running.wait()[::2] == (0, "")


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.7\r\nerror: forged"


@pytest.mark.parametrize(
    "args",
    [
        (HOSTILE,),
        ("predict", HOSTILE),
        ("predict", "--weights", HOSTILE, "data"),
        ("export", "--format", HOSTILE),
        ("describe", HOSTILE),
        ("dashboard", HOSTILE),
        ("fit", f"--{HOSTILE}=1"),
        ("fit", "--config", HOSTILE),
        ("fit", "--ckpt_path", HOSTILE),
        ("fit", f"--data.batch_size={HOSTILE}"),
        ("--debug", "predict", HOSTILE),
    ],
    ids=lambda args: " ".join(args[:-1]),
)
def test_12_control_characters_of_a_command_line_are_escaped(start, tmp_path, args):
    code, out, err = start(tmp_path, *args).wait()
    assert code in (1, 2)
    for line in (out + err).split("\n"):
        assert line.isprintable()


def test_12_an_unexpected_exception_is_one_printable_line(monkeypatch, capfd):
    def broken(*_):
        raise LookupError(HOSTILE + "x" * 1_000_000)

    monkeypatch.setattr("lenet_lightning.historical.describe.main", broken)
    assert main(["describe"]) == 1
    (line,) = capfd.readouterr().err.split("\n")[:-1]
    assert line.isprintable()
    assert line.startswith("error: LookupError: \\x1b]0;owned")
    assert line.endswith("; --debug shows where")
    assert len(line) < 400
    assert main(["describe", "--debug"]) == 1
    lines = capfd.readouterr().err.split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert all(line.isprintable() for line in lines)
