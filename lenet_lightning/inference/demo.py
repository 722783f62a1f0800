"""The drawing page: draw a digit in the browser, see what the network makes of it."""

import argparse
import asyncio
import base64
import errno
import io
import os
import socket
import sys
import tempfile
import threading
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from PIL import Image

from lenet_lightning.arguments import Parser
from lenet_lightning.errors import RunError, UsageError
from lenet_lightning.inference.predictor import Answer, Recognizer

if TYPE_CHECKING:
    import fastapi

LOCAL = ("127.0.0.1", "::1", "localhost")
BODY_BYTES = 10_000_000
SECONDS = 10  # for a request to arrive
CONNECTIONS = 256

PAGE = """
<div class="demo">
  <h1>LeNet-5 reads your digit</h1>
  <p class="lead">Draw one digit, large, with the mouse or a finger, or upload a picture of one.</p>
  <div class="pad">
    <canvas width="280" height="280" aria-label="Draw a digit here"></canvas>
    <div class="tools">
      <button type="button" aria-pressed="true">Draw</button>
      <button type="button" aria-pressed="false">Erase</button>
      <button type="button" class="clear">Clear</button>
      <label>Upload a picture<input type="file" accept="image/*"></label>
    </div>
  </div>
  <div class="result" aria-live="polite">{result}</div>
  <p class="faint">{weights}</p>
</div>"""

RESULT = """
<div class="headline">{headline}</div>
<figure>{seen}<figcaption>as the network sees it</figcaption></figure>
<p class="notice">{notice}</p>
<ol>{rows}</ol>"""
BAR = '<li>{digit}<i><b style="width:{share:.1%}"></b></i><span>{share:.1%}</span></li>'

# all that the page asks for; the rest of what gradio serves (files, proxies, uploads, its API) is not reachable
REACHABLE = ("/assets/", "/static/", "/theme.css")
READ = "/gradio_api/component_server/"
HEADERS = {
    # gradio compiles its templates in the page, and puts scripts and styles into it
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def main(args: list[str]) -> int:
    """Show a page to draw digits on, until Ctrl-C.

    Raises:
        UsageError: gradio is missing; the port is out of range; the host is no address of this machine; as Recognizer.
        RunError: the port is taken or not allowed; as Recognizer.
    """
    parser = Parser("demo", main.__doc__)
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights (default: the newest run's, or those of the package)"
    )
    parser.add_argument(
        "--port", type=_port, default=7860, help="where the page is served, 0 for any free one (default: 7860)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="an address of this machine; any but 127.0.0.1 opens the page to others"
    )
    options = parser.parse_args(args)
    try:
        # the port first: what follows takes seconds
        with _listen(options.host, options.port) as listening, tempfile.TemporaryDirectory() as folder:
            recognizer = Recognizer(options.weights)
            app = Guard(_app(recognizer, folder), options.host)
            host = f"[{options.host}]" if ":" in options.host else options.host
            if options.host not in LOCAL:
                print(f"warning: --host {options.host}: whoever can reach it can use the page", file=sys.stderr)
            print(f"draw on http://{host}:{listening.getsockname()[1]} (Ctrl-C ends it)", flush=True)
            _serve(app, listening)
    except KeyboardInterrupt:  # how one ends it
        return 130
    return 0


class Guard:
    """ASGI: lets through what the page itself sends, refuses the rest before gradio sees it.

    Args:
        app: what answers.
        host: the name or address it is asked for by, beside this machine's own names and the address connected to.
    """

    def __init__(self, app: Any, host: str) -> None:
        self.app = app
        self.hosts = {*LOCAL, host.lower()}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request, or refuse it.

        403 it was made by another site, 404 no part of the page, 408 too slow, 413 too large, 415 not JSON.
        """
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        async def reply(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        async def refuse(status: int, reason: str) -> None:
            headers = {"Connection": "close"}  # the rest of what it sends is not read
            await PlainTextResponse(reason, status, headers)(scope, receive, reply)

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        # a name that another site had point here (DNS rebinding) is none of ours
        if _hostname(host) not in self.hosts | {scope["server"][0]} or origin not in (None, f"http://{host}"):
            return await refuse(403, "not asked for by this page")
        if scope["method"] == "POST" and scope["path"] == READ:
            if headers.get("content-type") != "application/json":
                return await refuse(415, "must be JSON")
            try:
                async with asyncio.timeout(SECONDS):
                    body = await _body(receive)
            except TimeoutError:
                return await refuse(408, f"took more than {SECONDS} s")
            if body is None:
                return await refuse(413, f"more than {BODY_BYTES:,} bytes")
            pending = [{"type": "http.request", "body": body}]

            async def replay() -> dict[str, Any]:
                return pending.pop() if pending else await receive()

            return await self.app(scope, replay, reply)
        path = scope["path"]
        known = path == "/" or (path.startswith(REACHABLE) and ".." not in path and "\0" not in path)
        if scope["method"] not in ("GET", "HEAD") or not known:
            return await refuse(404, "no part of the page")
        return await self.app(scope, receive, reply)


async def _body(receive: Any) -> bytes | None:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_BYTES:
            return None
        more = message.get("more_body", False)
    return bytes(body)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {value}")
    return int(value)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) not in (errno.EADDRINUSE, errno.EACCES):
            raise UsageError(f"--host must be an address of this machine, e.g. 127.0.0.1, got {host!r}") from error
        raise RunError(f"port {port} on {host}: {os.strerror(error.errno)}; choose another with --port") from error


def _serve(app: Guard, listening: socket.socket) -> None:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        # uvicorn waits for ever for a first request's headers
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.loop.call_later(SECONDS, lambda: self.cycle or transport.close())

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        log_level="error",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run([listening])


def _app(recognizer: Recognizer, folder: str) -> "fastapi.FastAPI":
    # gradio asks for newer versions, and makes a folder of its own, when it is imported
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder)
    try:
        import fastapi
        import gradio
    except ModuleNotFoundError as error:
        raise UsageError(f"demo needs {error.name}: pip install 'lenet_lightning[demo]'") from error

    one_at_a_time = threading.Lock()  # a large picture takes much memory

    def read(picture: Any) -> str:
        try:
            with one_at_a_time:
                return _result(_read(recognizer, picture))
        except RunError as error:
            return _blank("No digit read", str(error))

    here = Path(__file__)
    with gradio.Blocks(title="LeNet-5 reads your digit", analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(
            PAGE.format(result=_blank("Draw a digit"), weights=escape(_provenance(recognizer))),
            js_on_load=here.with_name("demo.js").read_text("utf-8"),
            # none of gradio's events: those take the addresses of files, and keep what is sent
            server_functions=[read],
        )
    return gradio.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        page,
        path="/",
        css_paths=here.with_name("demo.css"),
        # gradio's own fonts come from elsewhere
        theme=gradio.themes.Default(
            primary_hue="indigo", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
        ),
        head='<link rel="icon" href="data:,">',
        footer_links=[],
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
    )


def _read(recognizer: Recognizer, picture: Any) -> Answer:
    """Read what demo.js sends, a data URL, as the file that it was."""
    try:
        data = base64.b64decode(picture.split(";base64,")[1], validate=True)
    except (AttributeError, IndexError, ValueError) as error:
        raise RunError("must be a picture, got something else") from error
    return recognizer(io.BytesIO(data))


def _result(answer: Answer) -> str:
    if answer.probabilities is None:
        return _blank("Draw a digit", answer.notice)
    png = io.BytesIO()
    Image.fromarray(answer.seen).save(png, "PNG")
    seen = base64.b64encode(png.getvalue()).decode()
    return RESULT.format(
        headline=f'<div class="digit">{answer.digit}</div>',
        seen=f'<img class="seen" alt="" src="data:image/png;base64,{seen}">',
        notice=escape(answer.notice or ""),
        rows="".join(BAR.format(digit=digit, share=answer.probabilities[digit]) for digit in answer.ranked),
    )


def _blank(headline: str, notice: str | None = None) -> str:
    return RESULT.format(
        headline=f'<div class="ask">{headline}</div>',
        seen='<div class="seen"></div>',
        notice=escape(notice or ""),
        rows="".join(f"<li>{digit}<i></i><span></span></li>" for digit in range(10)),
    )


def _provenance(recognizer: Recognizer) -> str:
    weights = "/".join(recognizer.weights.parts[-2:])
    accuracy = recognizer.facts.get("test/acc")
    return f"Weights: {weights}" + ("" if accuracy is None else f", {accuracy:.2%} of MNIST's 10,000 test digits right")
