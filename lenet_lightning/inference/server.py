"""The drawing page's server: its files, and one route that takes a picture and returns what the network makes of it."""

import asyncio
import base64
import io
import json
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from lenet_lightning.errors import RunError
from lenet_lightning.inference import choice, isolated, one_or_row, wording
from lenet_lightning.inference.choice import Reading
from lenet_lightning.inference.recognizer import Answer, Recognizer

LOCAL = ("127.0.0.1", "::1", "localhost")
BODY_BYTES = 10_000_000  # the same as in demo.js
DRAWING_BYTES, DRAWING_SIDE = 100_000, 280  # demo.js sends its drawings as smaller PNGs
UPLOADS = 4  # larger bodies and other pictures in memory at once

# seconds: for a request to arrive, then for an upload to be decoded, and for a connection in all
ARRIVAL, DECODING, LIFETIME = 10, 10, 22
CONNECTIONS = 100

TOO_LARGE = (413, f"A picture must have at most {BODY_BYTES // 1_000_000} MB.")
BUSY = (503, "Too many pictures at once; try again.")

PARTS = ("demo", "row", "inside")  # of the page, each a script and a style
NETWORK_NAMES = {"lenet5": "LeNet-5", "lenet5_1998": "LeNet-5 of 1998", "lenet1": "LeNet-1"}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # one request each: uvicorn would wait forever for the rest of a second one
    "Connection": "close",
}


class Guard:
    """ASGI middleware: refuse requests by other sites' pages with 403.

    Args:
        app: the application behind it.
        host: the name or address served, besides this machine's own names and the address that was connected to.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.hosts = {*LOCAL, host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on to the application, or refuse it."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        # another site's name may point to this address (DNS rebinding)
        known = _hostname(host) in self.hosts | {scope["server"][0]} and origin in (None, f"http://{host}")
        app = self.app if known else PlainTextResponse("not requested by this page", 403)
        await app(scope, receive, send)


class Reader:
    """The route that takes a picture.

    A drawing from the page is small and decoded at once. Any other picture waits its turn and is decoded in a process
    of its own, so that none can exhaust the server's time or memory.
    """

    def __init__(self, recognizers: Sequence[Recognizer]) -> None:
        self.recognizers = recognizers
        self.thread = ThreadPoolExecutor(1)
        self.decoding = asyncio.Lock()
        self.uploads: set[Request] = set()

    async def read(self, request: Request) -> Response:
        """Return digit, probabilities, the image seen, the stages and a notice as JSON.

        A row of digits has `digits`, a list of the first four for each, left to right, their `text`, the `probability`
        of all together and a notice. A blank picture has no stages, and null for the first three. The query `network`
        is the number of the weights, from 0. The values of each stage are float32, little-endian, in base64.

        Errors: 400 there is no such network; 408 the request is too slow, 413 too large, 415 not of a picture's type;
        422 the picture cannot be read; 503 too many uploads, or decoding takes too long.
        """
        kind = request.headers.get("content-type", "")
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise HTTPException(415, "Content-Type must be image/* or application/octet-stream")
        asked = {str(number): each for number, each in enumerate(self.recognizers)}
        recognizer = asked.get(request.query_params.get("network", "0"))
        if recognizer is None:
            raise HTTPException(400, f"network must be 0 to {len(asked) - 1}")
        try:
            return JSONResponse(_json(await self._answer(request, await self._body(request), recognizer)))
        except RunError as error:
            raise HTTPException(422, wording.refusal(str(error))) from error
        except ClientDisconnect:
            return Response()  # nobody receives it
        finally:
            self.uploads.discard(request)

    async def _body(self, request: Request) -> bytes:
        body, refusal = bytearray(), None
        try:
            async with asyncio.timeout(ARRIVAL):
                # read to its end even if refused: a client that is still sending would not see the answer
                async for chunk in request.stream():
                    if refusal:
                        continue
                    body += chunk
                    if len(body) > BODY_BYTES:
                        refusal = TOO_LARGE
                    elif len(body) > DRAWING_BYTES and not self._admit(request):
                        refusal = BUSY
                    if refusal:
                        body.clear()
        except TimeoutError as error:
            raise HTTPException(408, f"The picture took more than {ARRIVAL} s to arrive.") from error
        if refusal:
            raise HTTPException(*refusal)
        return bytes(body)

    async def _answer(self, request: Request, data: bytes, recognizer: Recognizer) -> Reading:
        in_thread = asyncio.get_running_loop().run_in_executor
        if _is_drawing(data):
            return await in_thread(
                self.thread, lambda: choice.read(recognizer, *one_or_row.frame(data, recognizer.invert))
            )
        if not self._admit(request):
            raise HTTPException(*BUSY)
        try:
            async with asyncio.timeout(DECODING), self.decoding:
                framed = await isolated.frame(data)
        except TimeoutError as error:
            raise HTTPException(503, f"Not read within {DECODING} s; try again, or make it smaller.") from error
        return await in_thread(self.thread, choice.read, recognizer, *framed)

    def _admit(self, request: Request) -> bool:
        if len(self.uploads) < UPLOADS:
            self.uploads.add(request)
        return request in self.uploads


def app(recognizers: Sequence[Recognizer], host: str) -> Starlette:
    """Return the ASGI application that serves the page as `host`, with a menu of the networks if they are several."""
    here = Path(__file__).parent
    options = "".join(_option(number, recognizer) for number, recognizer in enumerate(recognizers))
    page = (here / "demo.html").read_text("utf-8").replace("{networks}", options)
    files = {
        "/": Response(page, media_type="text/html"),
        **{f"/{name}.css": Response((here / f"{name}.css").read_bytes(), media_type="text/css") for name in PARTS},
        **{f"/{name}.js": Response((here / f"{name}.js").read_bytes(), media_type="text/javascript") for name in PARTS},
    }
    routes = [Route(path, file, methods=["GET"]) for path, file in files.items()]
    routes.append(Route("/read", Reader(recognizers).read, methods=["POST"]))
    made = Starlette(
        routes=routes, middleware=[Middleware(Guard, host=host)], exception_handlers={Exception: _unexpected}
    )
    made.router.redirect_slashes = False
    return made


def serve(recognizers: Sequence[Recognizer], host: str, listening: socket.socket) -> None:
    """Serve the page on a listening socket until SIGINT or SIGTERM."""
    alive: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    # only the public methods of asyncio.Protocol are used, see tests/inference/test_inference_pins.py
    class Connection(H11Protocol):
        """A connection that is aborted after LIFETIME, or when it is the oldest of too many."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            alive[transport] = asyncio.get_running_loop().call_later(LIFETIME, transport.abort)
            if len(alive) > CONNECTIONS:
                next(iter(alive)).abort()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            alive.pop(self.transport).cancel()

    config = uvicorn.Config(
        app(recognizers, host),
        http=Connection,
        ws="none",
        lifespan="off",
        headers=list(HEADERS.items()),
        # lower levels log tracebacks and text from clients
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=CONNECTIONS,  # as many may be accepted at once, each an open file
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run([listening])


def _is_drawing(data: bytes) -> bool:
    # the size is in IHDR; Pillow would also accept another IHDR that comes later
    size = max(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    alone = data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") and data.count(b"IHDR") == 1
    return alone and size <= DRAWING_SIDE and len(data) <= DRAWING_BYTES


def _option(number: int, recognizer: Recognizer) -> str:
    name = NETWORK_NAMES[recognizer.metadata["network"]] if recognizer.stages else "The network"
    data = {
        "network": name,
        "weights": f"Weights: {'/'.join(recognizer.weights.parts[-2:])}{recognizer.accuracy}",
        "stages": json.dumps([stage._asdict() for stage in recognizer.stages]),
    }
    attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
    return f'<option value="{number}" {attributes}>{escape(f"{name} ({recognizer.weights.name})")}</option>'


def _json(reading: Reading) -> dict[str, Any]:
    said = {"notice": wording.notice(reading.digits[0][0].notice)}
    digits = [_digit(*each) for each in reading.digits]
    if len(digits) == 1:
        return digits[0] | said
    return {"digits": digits, "text": reading.text, "probability": reading.probability} | said


def _digit(answer: Answer, stages: dict[str, np.ndarray]) -> dict[str, Any]:
    if answer.probabilities is None or answer.seen is None:
        return {"digit": None, "probabilities": None, "seen": None}
    png = io.BytesIO()
    Image.fromarray(answer.seen).save(png, "PNG")
    return {
        "digit": answer.digit,
        "probabilities": answer.probabilities.tolist(),
        "seen": "data:image/png;base64," + base64.b64encode(png.getvalue()).decode(),
        "stages": {name: base64.b64encode(values.astype("<f4").tobytes()).decode() for name, values in stages.items()},
    }


async def _unexpected(_: Request, error: Exception) -> Response:
    # without its text, which may come from the client
    print(f"error: {type(error).__name__}: a request was answered with 500", file=sys.stderr)
    return PlainTextResponse("internal error", 500)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
