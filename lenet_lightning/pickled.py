"""Read files of torch.save within limits of memory and time, and without running code in them."""

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenet_lightning.errors import RunError, one_line, printable
from lenet_lightning.metadata import MOST_BYTES, check_size

MOST_PICKLED = 256 * 1024  # bytes of the pickle, without the tensors' values; a checkpoint's has 14 kB
MOST_VALUES = 100_000  # each counted as often as it is referred to; a checkpoint has some 3,000
MOST_DEPTH = 50  # of nesting
MOST_ENTRIES = 10_000  # of the zip; a checkpoint has 60

# torch's own list includes functions that allocate as much memory as a number in the file asks for
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch(\.cuda)? \w+Storage"
    r"|torch (Size|device|bool|b?float\d+|u?int\d+)|(__builtin__|builtins) set"
)
_PLAIN = (str, bytes, int, float, type(None), torch.dtype, torch.device)


def unpickle(path: Path, content: bytes | None = None) -> Any:
    """Return what torch.save wrote to a file, a zip or the pickles of before torch 1.6, without running code in it.

    Args:
        path: the file.
        content: what another machine found in it; None to read it here.

    Raises:
        RunError: it is damaged, too large, compressed, or holds something other than tensors and plain values.
    """
    if content is None:
        check_size(path)
    try:
        content = path.read_bytes() if content is None else content
        content = _checked_zip(content) if content.startswith(b"PK\x03\x04") else _checked_pickles(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is refused below
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        _check_values(saved)
        return saved
    except _Refusal as error:
        reason = f"{error}; save state_dict() alone"
    except pickle.UnpicklingError:
        # torch's own message advises to switch the check off
        reason = "it holds something other than tensors and plain values, or is damaged; save state_dict() alone"
    except Exception as error:  # a crafted file can make torch raise anything
        reason = f"it is damaged ({one_line(error, 100)})" if str(error) else "it is damaged"
    raise RunError(f"{printable(path)}: cannot be loaded: {reason}")


class _Refusal(pickle.UnpicklingError):
    pass


def _checked_zip(content: bytes) -> bytes:
    """Return the zip rewritten, so that torch's own zip reader sees exactly what was checked here."""
    if content.count(b"PK\x01\x02") > MOST_ENTRIES:
        raise _Refusal(f"it has more than {MOST_ENTRIES:,} entries")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.filename.lower().endswith("/constants.pkl") for entry in entries):
            raise _Refusal("it is a TorchScript archive")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise _Refusal("it is compressed, which torch.save never does")
        # stored entries take as many bytes as they have, unless they overlap
        if sum(entry.file_size for entry in entries) > len(content):
            raise _Refusal("its entries claim more bytes than it has")
        records = {entry.filename.lower(): (entry.filename, archive.read(entry)) for entry in entries}
    if len(records) != len(entries):
        raise _Refusal("two of its entries have the same name")
    # torch's reader ignores the case of names
    for name, (_, record) in records.items():
        if name.endswith("data.pkl"):
            if len(record) > MOST_PICKLED:
                raise _Refusal(f"its data.pkl must have at most {MOST_PICKLED:,} bytes, has {len(record):,}")
            _check_pickle(io.BytesIO(record))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, record in records.values():
            archive.writestr(name, record)
    return written.getvalue()


def _checked_pickles(content: bytes) -> bytes:
    stream = io.BytesIO(content[:MOST_PICKLED])
    for _ in ("magic number", "version", "system", "what was saved", "names of the tensors that follow"):
        _check_pickle(stream)
    return content


def _stranger(name: str, whole: bytes) -> str:
    """Return what a pickle holds that names something else than tensors and plain values."""
    if re.search(r"_rebuild_qtensor|torch qu?int\d+$", name):
        return "it holds quantised tensors"
    what = "a whole module" if b"torch.nn.modules" in whole else "an object"
    named = one_line(name.replace(" ", "."), 80)
    return f"it holds something other than tensors and plain values: {what} of class {named}"


def _check_pickle(stream: io.BytesIO) -> None:
    """Go through a pickle without building anything; refuse what would take long to build or to hash.

    A few bytes can describe tuples of tuples so large that hashing them, in C, never ends, or so deep that it crashes.
    """
    stack: list[tuple[int, int]] = []  # of each value that would be built: how many values it has, how deep
    marks: list[int] = []
    memo: dict[int, tuple[int, int]] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL" and not _GLOBALS.fullmatch(argument):
            raise _Refusal(_stranger(argument, stream.getvalue()))
        if opcode.name == "MARK":
            marks.append(len(stack))
        elif opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            start, takes = len(stack), opcode.stack_before
            if pickletools.markobject in takes:
                start, takes = marks.pop(), takes[: takes.index(pickletools.markobject)]
            start -= len(takes)
            parts = stack[start:]
            del stack[start:]
            values = 1 + sum(part[0] for part in parts)
            depth = max((part[1] for part in parts), default=0) + opcode.name.startswith("TUPLE")
            if values > MOST_VALUES or depth > MOST_DEPTH:
                raise _Refusal(f"it holds more than {MOST_VALUES:,} values, or tuples more than {MOST_DEPTH} deep")
            stack += [(values, depth)] * len(opcode.stack_after)


def _check_values(saved: Any) -> None:
    """Refuse what could not be copied: lists within themselves, tensors larger than their values in the file.

    Raises:
        _Refusal: there are too many values, or tensors that are too large or not plain.
    """
    left, values, total = [(saved, 0)], 1, 0
    while left:
        value, depth = left.pop()
        inside: list[Any] = []
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise _Refusal("it holds tensors that are sparse, quantised or without values")
            total += value.numel() * value.element_size()
        elif isinstance(value, dict):
            if isinstance(value, OrderedDict):
                vars(value).clear()  # attributes from the file would hide methods
            inside = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            inside = list(value)
        elif not isinstance(value, _PLAIN):
            raise _Refusal(f"it holds a {type(value).__name__}")
        values += len(inside)
        if total > MOST_BYTES or values > MOST_VALUES or depth > MOST_DEPTH:
            raise _Refusal(f"its tensors have more than {MOST_BYTES:,} bytes, or it holds too many values")
        left += [(each, depth + 1) for each in inside]
