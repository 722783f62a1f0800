"""The command `predict`: read the digits in pictures."""

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError, printable
from lenet_lightning.inference import picture
from lenet_lightning.inference.recognizer import Recognizer
from lenet_lightning.inference.rows import FIELDS, Row

STDIN = "-"

# of stdin, which may never end
_MOST_BYTES = 100_000_000

# pictures that are decoded together; their lines are printed after that
_AT_ONCE = 32


class _Stdin(io.BytesIO):
    name = STDIN  # used in errors


def main(args: list[str]) -> int:
    """Read the handwritten digit in each picture.

    Raises:
        UsageError: a picture or folder does not exist; --picture is not a .png in an existing folder; as Recognizer.
        RunError: the --picture file cannot be written; stdout is closed; as Recognizer.
        OSError: stdout cannot be written.
    """
    parser = Parser("predict", main.__doc__)
    parser.add_argument(
        "pictures", nargs="+", metavar="PICTURE", help="a picture, a folder of pictures, or - for stdin"
    )
    parser.add_argument(
        "--weights", metavar="FILE", help=".safetensors, .ckpt, .pth or .onnx (default: the newest run)"
    )
    parser.add_argument(
        "--invert", choices=picture.INVERT, default="auto", help="light ink on dark ground (default: auto)"
    )
    parser.add_argument("--line", action="store_true", help="each picture holds a row of separate digits")
    parser.add_argument(
        "--reject-below",
        type=float,
        default=0,
        metavar="MARGIN",
        help="reject if the two best logits are closer than this",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help=f"print {', '.join(FIELDS)} as CSV")
    form.add_argument("--json", action="store_true", help="print the same as one JSON array")
    parser.add_argument(
        "--picture", type=Path, metavar="OUT.png", help="draw what was seen, with the ten probabilities"
    )
    options = parser.parse_args(args)
    if sys.stdout is None:
        raise RunError("stdout must be open to print the digits, is closed; leave out >&-")
    target = options.picture
    if target and not (target.suffix == ".png" and target.parent.is_dir() and not target.is_dir()):
        raise UsageError(
            f"--picture {printable(target)}: must be a .png to write, in a folder that exists; pass another"
        )
    asked = [row for name in options.pictures for row in _named(name)]
    recognizer = Recognizer(options.weights, options.invert, options.reject_below)
    print(f"weights {printable(recognizer.weights)}{recognizer.accuracy}", file=sys.stderr)
    rows: list[Row] = []
    out = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
    if options.csv:
        out.writeheader()
    width = min(40, max(len(printable(row.name)) for row in asked))
    for row in _read(asked, recognizer, options.line):
        rows.append(row)
        if options.csv:
            out.writerow(row.fields())
        elif not options.json and not row.error:
            print(row.text(width), flush=True)
        if row.error:
            print(f"error: {row.error}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([row.fields() for row in rows], indent=2))
    sys.stdout.flush()
    if target:
        from lenet_lightning.inference import grid

        grid.draw(rows, target)
    return int(any(row.error for row in rows))


def _named(name: str) -> list[Row]:
    """Return the rows, not read yet, of the pictures that one argument stands for."""
    if name == STDIN:
        return [_stdin()]
    path = Path(name)
    if not os.path.lexists(path):
        raise UsageError(f"{printable(name)}: no such picture or folder")
    if not os.path.isdir(path):  # path.is_dir() would raise where it may not look
        return [Row(path, _encodable(name))]
    try:
        pictures = (each for each in path.iterdir() if each.suffix.lower() in picture.SUFFIXES)
        inside = sorted(each for each in pictures if not os.path.isdir(each))
        error = f"must hold pictures ({', '.join(picture.SUFFIXES)}), has none; pass another folder"
    except OSError as failure:
        inside, error = [], f"cannot be read: {failure.strerror}; pass another folder"
    if not inside:
        return [Row(None, _encodable(name), error=f"{printable(name)}: {error}")]
    return [Row(each, _encodable(str(each))) for each in inside]


def _stdin() -> Row:
    if sys.stdin is None:
        return Row(None, STDIN, error=f"{STDIN}: must be a picture, stdin is closed; pipe one in")
    try:
        content = sys.stdin.buffer.read(_MOST_BYTES + 1)
    except OSError as failure:
        return Row(None, STDIN, error=f"{STDIN}: cannot be read: {failure.strerror}; pipe a picture in")
    if len(content) > _MOST_BYTES:
        reason = f"must have at most {_MOST_BYTES // 1_000_000} million bytes, has more; save it as a file"
        return Row(None, STDIN, error=f"{STDIN}: {reason}")
    return Row(_Stdin(content), STDIN)


def _encodable(name: str) -> str:
    # file names may hold bytes that are not valid in the file system's encoding
    return name.encode("utf-8", "backslashreplace").decode()


def _read(asked: list[Row], recognizer: Recognizer, line: bool) -> Iterator[Row]:
    for start in range(0, len(asked), _AT_ONCE):
        together = asked[start : start + _AT_ONCE]
        framed = [_framed(row, recognizer.invert, line) for row in together]
        answers = iter(recognizer.answers([digit for digits in framed if isinstance(digits, list) for digit in digits]))
        for row, digits in zip(together, framed, strict=True):
            if isinstance(digits, str):
                yield Row(row.source, row.name, error=digits)
            else:
                yield Row(row.source, row.name, tuple(itertools.islice(answers, len(digits))), line=line)


def _framed(row: Row, invert: str, line: bool) -> list[picture.Framed] | str:
    """Return the digits of a picture, or the error."""
    if row.source is None:
        return str(row.error)
    try:
        return picture.frame_line(row.source, invert) if line else [picture.frame(row.source, invert)]
    except RunError as error:
        return str(error)
