"""A process that frames pictures for another one: on a core of its own, and a decoder's death is one picture's."""

import json
import os
import subprocess
import sys
from threading import Lock

from lenet_lightning.errors import RunError, printable
from lenet_lightning.inference import packing, picture
from lenet_lightning.inference.packing import Result


def frame(source: picture.Picture, invert: str, line: bool) -> Result:
    """Return what `picture.frame` (if `line`, `picture.frame_rows`) finds, or its error, in this process."""
    try:
        return picture.frame_rows(source, invert) if line else picture.frame(source, invert)
    except RunError as error:
        return str(error)


class Reader:
    """The process. It ends with the one that started it, even if that is killed: its stdin ends then.

    Args:
        invert: as for `picture.frame`.
        line: whether each picture holds a row of digits.
    """

    def __init__(self, invert: str, line: bool) -> None:
        self._options = (invert, *(["line"] if line else []))
        self._lock = Lock()
        self._ended = False
        self._start()

    def frame(self, paths: list[str]) -> list[Result]:
        """Return the result of each picture, in their order; one that kills the process twice has an error."""
        results: list[Result] = []
        died_at = -1
        while left := paths[len(results) :]:
            if self._answer(left, results) or self._ended:
                break
            if len(results) == died_at:
                name = printable(left[0])
                results.append(f"{name}: cannot be read: its decoder died; save it again")
            died_at = len(results)
            self.close()
            self._start()
        return results

    def kill(self) -> None:
        """End the process, in the midst of a picture, too; no other follows."""
        with self._lock:
            self._ended = True
            self._process.kill()

    def close(self) -> None:
        """Free what a process that was killed leaves, once nothing waits for it."""
        self._process.communicate()

    def _start(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and options of our own
                [sys.executable, "-P", "-m", __name__, *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C goes to the first process alone, which ends the others
            )

    def _answer(self, paths: list[str], results: list[Result]) -> bool:
        """Add the results of the pictures until all are there (True) or the process dies."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write("".join(json.dumps(path) + "\n" for path in paths).encode())
            pipe_in.flush()
        except (BrokenPipeError, ValueError):
            return False
        for _ in paths:
            if not (answer := pipe_out.readline()).endswith(b"\n"):
                return False
            results.append(packing.unpacked(json.loads(answer)))
        return True


def _main(invert: str, line: str = "") -> None:
    import cv2

    cv2.setNumThreads(1)  # the other cores have processes of their own
    for path in sys.stdin:
        print(json.dumps(packing.packed(frame(json.loads(path), invert, bool(line)))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
