"""The command `predict`: read the digits in pictures."""

import csv
import io
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError, printable
from lenet_lightning.inference import answers, folder, formats, picture, progress, reading, truth
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
        UsageError: a picture or folder does not exist; --picture or --confusion is not a .png in an existing folder,
            --inside not a .svg or .png; --inside is of several pictures or an ONNX file; --output is not a file that
            this command began; a picture's name has no --truth; as Recognizer.
        RunError: the --picture, --inside, --confusion or --output file cannot be written; stdout is closed; as
            Recognizer.
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
        "--insist", action="store_true", help="use weights of others even if they misread MNIST's validation digits"
    )
    parser.add_argument(
        "--invert", choices=picture.INVERT, default="auto", help="light ink on dark ground (default: auto)"
    )
    parser.add_argument(
        "--line", action="store_true", help="each picture holds a row of digits, or several, one above the other"
    )
    parser.add_argument(
        "--reject-below",
        type=float,
        default=0,
        metavar="MARGIN",
        help="reject if the two best logits are closer than this",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help=f"print {', '.join(FIELDS)} as CSV")
    form.add_argument("--json", action="store_true", help="print the same as one JSON array, at the end")
    form.add_argument("--jsonl", action="store_true", help="print the same as a JSON object a line, each as it comes")
    form.add_argument(
        "--output",
        type=Path,
        metavar="FILE.jsonl",
        help="append such lines to a file; pictures that it names already are not read again",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="OUT.png", help="draw what was seen, with the ten probabilities"
    )
    parser.add_argument(
        "--inside", type=Path, metavar="OUT.svg", help="draw what each stage of the network makes of the digit, or .png"
    )
    parser.add_argument(
        "--truth", choices=truth.KINDS, help="count what is read as the digit that names the file, or its folder"
    )
    parser.add_argument("--confusion", type=Path, metavar="OUT.png", help="draw which digit was taken for which")
    options = parser.parse_args(args)
    if sys.stdout is None:
        raise RunError("stdout must be open to print the digits, is closed; leave out >&-")
    target = _target("--picture", options.picture, (".png",))
    confusion = _target("--confusion", options.confusion, (".png",))
    inside = _target("--inside", options.inside, (".svg", ".png"))
    if options.truth and (options.output or STDIN in options.pictures):
        raise UsageError(f"--truth: must be without --output, which may have read some before, and without {STDIN}")
    if confusion and (options.line or not options.truth):
        raise UsageError("--confusion: must be with --truth and without --line, whose rows are more than ten digits")
    names = truth.folders(options.pictures) if options.truth == "folder" else options.pictures
    asked = [row for name in names for row in _named(name)]
    if inside and (len(asked) > 1 or options.line or options.output):
        raise UsageError("--inside must be of one digit; pass one picture, without --line and --output")
    score = truth.Score(options.truth, asked, options.line) if options.truth else None
    failed = False
    if options.output:
        asked, failed = answers.left(asked, options.output)
    recognizer = Recognizer(options.weights, options.invert, options.reject_below, options.insist)
    print(f"weights {printable(recognizer.weights)}{recognizer.accuracy}", file=sys.stderr)
    rows: list[Row] = []
    with ExitStack() as stack:
        write = stack.enter_context(answers.appended(options.output)) if options.output else _printer(options, asked)
        reading = stack.enter_context(closing(_read(asked, recognizer, options.line)))
        # lines that are printed on a terminal are progress enough
        for row in progress.shown(reading, len(asked), bool(options.output) or not sys.stdout.isatty()):
            write(row)
            if score:
                score.add(row)
            if row.error:
                failed = True
                print(f"error: {row.error}", file=sys.stderr, flush=True)
            if options.json or target or inside:
                rows.append(row)
    if options.json:
        print(json.dumps([row.fields() for row in rows], indent=2))
    sys.stdout.flush()
    if target:
        from lenet_lightning.inference import grid

        grid.draw(rows, target)
    if score:
        score.tell()
        if confusion:
            score.draw(confusion)
    if inside:
        failed |= not _look(recognizer, rows, inside)
    return int(failed)


def _target(option: str, path: Path | None, suffixes: tuple[str, ...]) -> Path | None:
    if path and not (path.suffix in suffixes and path.parent.is_dir() and not path.is_dir()):
        kinds = " or ".join(suffixes)
        raise UsageError(
            f"{option} {printable(path)}: must be a {kinds} to write, in a folder that exists; pass another"
        )
    return path


def _look(recognizer: Recognizer, rows: list[Row], path: Path) -> bool:
    """Draw the stages of the one picture, if a digit is seen in it."""
    from lenet_lightning.inference import slide

    seen = [row.answer.seen for row in rows if row.answer and row.answer.seen is not None]
    for each in seen:
        slide.draw(recognizer, each, path)
    return bool(seen)


def _printer(options: Namespace, asked: list[Row]) -> Callable[[Row], object]:
    """Return what prints a row as soon as it is read, in the form that was asked for."""
    if options.json:
        return lambda row: None
    if options.jsonl:
        return lambda row: print(answers.line(row), flush=True)
    if options.csv:
        out = csv.DictWriter(sys.stdout, FIELDS, extrasaction="ignore", lineterminator="\n")
        out.writeheader()
        return lambda row: out.writerow(row.fields())
    width = min(40, max(len(printable(row.name)) for row in asked))
    return lambda row: None if row.error else print(row.text(width), flush=True)


def _named(name: str) -> list[Row]:
    """Return the rows, not read yet, of the pictures that one argument stands for."""
    if name == STDIN:
        return [_stdin()]
    path = Path(name)
    if not os.path.lexists(path):
        raise UsageError(f"{printable(name)}: no such picture or folder")
    if not os.path.isdir(path):  # path.is_dir() would raise where it may not look
        return [Row(str(path), _encodable(name))]
    try:
        inside = folder.pictures(path)
        error = f"must hold pictures ({', '.join(formats.SUFFIXES)}), has none; pass another folder"
    except OSError as failure:
        inside, error = [], f"cannot be read: {failure.strerror}; pass another folder"
    if not inside:
        return [Row(None, _encodable(name), error=f"{printable(name)}: {error}")]
    return [Row(each, _encodable(each)) for each in inside]


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
    shown = name.encode("utf-8", "backslashreplace").decode()
    return name if shown == name else shown  # one of two that are the same, in memory


def _read(asked: list[Row], recognizer: Recognizer, line: bool) -> Generator[Row, None, None]:
    with closing(reading.framed(asked, recognizer.invert, line)) as framed:
        rows = iter(asked)
        while together := list(islice(rows, _AT_ONCE)):
            results = list(islice(framed, _AT_ONCE))
            answered = iter(recognizer.answers([each for each in results if isinstance(each, picture.Framed)]))
            for row, result in zip(together, results, strict=True):
                if isinstance(result, str):
                    yield Row(row.source, row.name, error=result)
                elif isinstance(result, picture.FramedRows):
                    yield Row(row.source, row.name, lines=recognizer.rows_answer(result))
                else:
                    yield Row(row.source, row.name, next(answered))
