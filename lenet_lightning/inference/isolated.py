"""Decode an untrusted picture in a process of its own, which can be killed and frees all its memory then."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE

from lenet_lightning.errors import RunError
from lenet_lightning.inference import one_or_row, packing, picture


async def frame(data: bytes) -> tuple[picture.Framed, picture.FramedRows | None]:
    """Return what `one_or_row.frame` returns for the bytes of a picture file; cancelling this kills the process.

    Raises:
        RunError: as `one_or_row.frame`; or the process died.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", __name__),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        output, _ = await process.communicate(data)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RunError("the picture: cannot be read: its decoder died; save it again")
    framed = json.loads(output)
    if isinstance(framed, str):
        raise RunError(framed)
    one, rows = packing.unpacked(framed[0]), packing.unpacked(framed[1]) if len(framed) > 1 else None
    assert isinstance(one, picture.Framed)
    assert rows is None or isinstance(rows, picture.FramedRows)
    return one, rows


def _main() -> None:
    try:
        framed = one_or_row.frame(sys.stdin.buffer.read())
        result: object = [packing.packed(each) for each in framed if each is not None]
    except RunError as error:
        result = str(error)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    _main()
