"""Decode an untrusted picture in a process of its own, which can be killed and frees all its memory then."""

import asyncio
import io
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE

import numpy as np

from lenet_lightning.errors import RunError
from lenet_lightning.inference import picture


async def frame(data: bytes) -> picture.Framed:
    """Return what `picture.frame` returns for the bytes of a picture file; cancelling this kills the process.

    Raises:
        RunError: as `picture.frame`; or the process died.
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
    pixels, notice, error = json.loads(output)
    if error:
        raise RunError(error)
    return picture.Framed(None if pixels is None else np.array(pixels, np.uint8), notice)


def _main() -> None:
    result: tuple[list[list[int]] | None, str | None, str | None]
    try:
        framed = picture.frame(io.BytesIO(sys.stdin.buffer.read()))
        result = (None if framed.pixels is None else framed.pixels.tolist(), framed.notice, None)
    except RunError as error:
        result = (None, None, str(error))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    _main()
