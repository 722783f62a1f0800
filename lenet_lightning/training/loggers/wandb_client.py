"""The W&B client, bounded: whatever its process, its server or its variables do, the training continues."""

import io
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from pydantic import ValidationError

from lenet_lightning.errors import one_line

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
CALL_S = 30  # for each call, as the client may hang
END_S = 3  # with wandb.FAILED_S together less than signals.GRACE_S, or SIGTERM would leave a hanging client behind

# the service of a notebook or an agent may be dead, stopped or of another version; the other is a place for files
IGNORED = ("WANDB_SERVICE", "WANDB_X_FILES_DIR")

CACHES = "wandb/cache"


def prepare_environment(folder: Path) -> None:
    """Check the variables one by one, as a single invalid one ends any call of the client.

    Args:
        folder: of the run, in which the client keeps its caches.

    Raises:
        ValueError: WANDB_MODE is invalid.
    """
    asked = os.environ.get("WANDB_MODE")
    if asked and asked not in MODES:
        raise ValueError(
            f"WANDB_MODE must be one of {', '.join(MODES)}, got {one_line(asked)!r}; unset it to let the login decide"
        )
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        value = os.environ.pop(name)
        if not value or name in IGNORED:
            continue
        try:
            wandb.Settings().update_from_env_vars({name: value})
            os.environ[name] = value
        except Exception as error:
            say(f"{one_line(name)} is invalid and ignored: {reason(error)}")
    caches = str((folder / CACHES).absolute())  # else in the user's home
    os.environ |= {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": caches, "WANDB_DATA_DIR": caches}


def mode() -> str:
    """Return `online` where someone is logged in, else `offline`."""
    try:
        with complaints():
            return "online" if bounded(CALL_S, partial(wandb.login, prompt=False, verify=False)) else "offline"
    except wandb.errors.AuthenticationError:
        say("the key is malformed; this run is kept offline (to repair it: wandb login)")
    except Exception as error:
        say(f"{reason(error)}; this run is kept offline")
    return "offline"


def bounded(seconds: float, action: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `action` returns, or raise what it raises; TimeoutError if that takes longer."""
    outcome: Future[Any] = Future()

    def act() -> None:
        try:
            outcome.set_result(action(*arguments))
        except BaseException as error:  # the client exits the interpreter when its process failed
            outcome.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    threading.Thread(target=act, daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer in {seconds} s") from error


def end_client(hangs: bool = False) -> None:
    """End the client, and kill its process if that fails or takes too long."""
    if hangs:
        _kill_client()
    with suppress(Exception):
        bounded(END_S, wandb.teardown)
    _kill_client()
    wandb.run = None  # or Lightning would take the next run for part of a dead one


def _kill_client() -> None:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, rest = stat.read_text(errors="replace").rsplit(")", 1)
            if name.endswith("(wandb-core") and int(rest.split()[1]) == os.getpid():
                os.killpg(int(stat.parent.name), signal.SIGKILL)  # it leads a group, for its own children


@contextmanager
def complaints() -> Iterator[None]:
    """Turn what the client prints, as the traceback of a broken settings file, into one line."""
    with redirect_stderr(io.StringIO()) as printed:
        yield
    if printed.getvalue():
        say(one_line(printed.getvalue().splitlines()[0].removeprefix("wandb: ")))


@contextmanager
def copies() -> Iterator[None]:
    """Let the client copy its files where a file system lets nobody set their modes or times."""
    before = shutil.copymode, shutil.copystat

    def without(of: Callable[..., None]) -> Callable[..., None]:
        def copy(*arguments: Any, **settings: Any) -> None:
            with suppress(OSError):
                of(*arguments, **settings)

        return copy

    shutil.copymode, shutil.copystat = map(without, before)
    try:
        yield
    finally:
        shutil.copymode, shutil.copystat = before


def reason(error: Exception | None) -> str:
    """Return a failure of the client's as one line."""
    if isinstance(error, ValidationError):
        return one_line(error.errors()[0]["msg"])
    return one_line(error) or type(error).__name__


@rank_zero_only
def say(text: str) -> None:
    """Print a line on stderr."""
    print(f"W&B: {text}", file=sys.stderr, flush=True)
