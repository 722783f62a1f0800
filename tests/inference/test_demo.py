"""The drawing page, drawn on in Chromium (from Debian), and what it refuses."""

import contextlib
import http.client
import io
import itertools
import json
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from lenet_lightning import inference, weights
from lenet_lightning.__main__ import main
from lenet_lightning.inference import server
from tests.inference.conftest import serving

ONE = [(0.5, 0.15), (0.5, 0.85)]
SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.82)]

browser = pytest.mark.browser


def on_canvas(page, points):
    box = page.locator(".pad canvas").bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def draw(page, points):
    """One stroke with the mouse."""
    start, *corners = on_canvas(page, points)
    page.mouse.move(*start)
    page.mouse.down()
    for corner in corners:
        page.mouse.move(*corner, steps=10)
    page.mouse.up()


def headline(page, text):
    expect(page.locator(".headline")).to_have_text(text, timeout=10_000)


def fits(page):
    return page.evaluate(
        "() => document.documentElement.scrollHeight <= innerHeight && "
        "document.documentElement.scrollWidth <= innerWidth"
    )


@browser
def test_a_one_and_a_seven_drawn_with_the_pointer_are_read(opened):
    page = opened(device_scale_factor=1.35)
    draw(page, ONE)
    headline(page, "1")
    page.get_by_role("button", name="Clear").click()
    headline(page, "Draw a digit")
    draw(page, SEVEN)
    headline(page, "7")
    # the picture of the whole stroke comes after that of a part of it, on which the digit may be read already
    lowest = "image => { const pen = document.createElement('canvas').getContext('2d'); pen.drawImage(image, 0, 0);" + (
        "return pen.getImageData(0, 0, 28, 28).data.findLastIndex((value, at) => at % 4 == 0 && value > 99) / 112 }"
    )
    deadline = time.monotonic() + 10
    while page.locator("img.seen").evaluate(lowest) <= 22:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)
    shares = [float(text.rstrip("%")) for text in page.locator(".result li span").all_inner_texts()]
    assert len(shares) == 10
    assert shares.index(max(shares)) == 7
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert page.locator(".result .best").inner_text().startswith("7")
    assert page.locator("img.seen").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    assert "99.47% of MNIST's 10,000 test digits" in page.locator(".faint").inner_text()
    assert fits(page)


@browser
def test_it_is_read_while_it_is_drawn(opened):
    page = opened()
    start, end = on_canvas(page, ONE)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=10)
    headline(page, "1")
    page.mouse.up()


@browser
def test_what_is_erased_is_gone(opened):
    page = opened()
    draw(page, ONE)
    headline(page, "1")
    page.get_by_role("button", name="Erase").click()
    draw(page, [(0.5, 0.05), (0.5, 0.95)])
    headline(page, "Draw a digit")


@browser
def test_a_finger_draws_on_a_phone(opened, tmp_path):
    page = opened(390, 844, has_touch=True, is_mobile=True, device_scale_factor=2)
    touch = page.context.new_cdp_session(page)
    points = on_canvas(page, [(0.5, 0.15 + 0.07 * step) for step in range(11)])
    for kind, point in [("touchStart", points[0]), *(("touchMove", point) for point in points), ("touchEnd", None)]:
        at = [] if point is None else [{"x": point[0], "y": point[1]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    headline(page, "1")
    assert page.evaluate("scrollY") == 0
    assert fits(page)
    page.screenshot(path=tmp_path / "phone.png")


@browser
def test_an_uploaded_picture_is_read(opened, tmp_path):
    picture = Image.new("L", (900, 600), 255)
    ImageDraw.Draw(picture).line([(380, 120), (540, 120), (430, 480)], fill=0, width=50, joint="curve")
    picture.resize((400, 400)).save(tmp_path / "seven.png")
    page = opened()
    page.locator("input[type=file]").set_input_files(tmp_path / "seven.png")
    headline(page, "7")
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, 280, 280).data.some(value => value < 50)"
    assert page.locator("canvas").evaluate(drawn)


@browser
def test_a_file_that_is_no_picture_is_reported_and_the_page_still_works(opened, tmp_path):
    page = opened()
    (tmp_path / "letter.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "letter.png")
    headline(page, "No digit read")
    assert page.locator(".notice").inner_text()
    assert str(tmp_path.root) + "tmp" not in page.locator(".notice").inner_text()
    (tmp_path / "large.png").write_bytes(bytes(server.BODY_BYTES + 1))
    page.locator("input[type=file]").set_input_files(tmp_path / "large.png")
    expect(page.locator(".notice")).to_contain_text("larger than 10 MB")
    draw(page, ONE)
    headline(page, "1")


@browser
@pytest.mark.parametrize("fault", ["abort", "status"])
def test_a_program_that_does_not_answer_is_noticed(opened, fault):
    page = opened()
    page.route("**/read", lambda route: route.abort() if fault == "abort" else route.fulfill(status=500))
    draw(page, ONE)
    expect(page.locator(".notice")).to_contain_text("does the program still run?")
    page.unroute("**/read")
    draw(page, ONE)
    headline(page, "1")


def ask(port, method="GET", path="/", body=None, **headers):
    """Send a request as it is: (status, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": f"127.0.0.1:{port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and "Transfer-Encoding" not in headers:
        headers = {"Content-Length": str(len(body)), "Content-Type": "image/png"} | headers
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it answers before all is sent
        connection.send(body or b"")
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, text


def picture(width=280, height=280, form="PNG"):
    """A file with a 1 in it."""
    image = Image.new("L", (width, height), 255)
    ImageDraw.Draw(image).line([(width // 2, height // 7), (width // 2, height * 6 // 7)], fill=0, width=width // 12)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def scans(count, side=4000):
    """A progressive JPEG whose last scan is repeated: each is decoded again."""
    file = io.BytesIO()
    Image.new("L", (side, side), 200).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def in_parallel(count, function):
    """The results of `count` calls at once."""
    with ThreadPoolExecutor(count) as threads:
        return [each.result() for each in [threads.submit(function) for _ in range(count)]]


def megabytes(process):
    """What a process has in memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) / 1024


READ = {"method": "POST", "path": "/read"}


@browser
@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
def test_a_picture_sent_by_hand_is_read(port, kind):
    status, text = ask(port, **READ, body=picture(), Origin=f"http://127.0.0.1:{port}", Content_Type=kind)
    answer = json.loads(text)
    assert status == 200
    assert answer["digit"] == 1
    assert len(answer["probabilities"]) == 10
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert answer["seen"].startswith("data:image/png;base64,")
    assert answer["notice"] is None


@browser
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_an_upload_of_any_kind_is_read(port, form):
    status, text = ask(port, **READ, body=picture(900, 1200, form))
    assert (status, json.loads(text)["digit"]) == (200, 1)


@browser
@pytest.mark.parametrize("side", [280, 281])
def test_a_blank_picture_has_no_digit(port, side):
    file = io.BytesIO()
    Image.new("L", (side, side), 255).save(file, "PNG")
    status, text = ask(port, **READ, body=file.getvalue())
    assert status == 200
    said = "Nothing that looks like a digit is in it."
    assert json.loads(text) == {"digit": None, "probabilities": None, "seen": None, "notice": said}


@browser
@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "127.0.0.2", "[", "", "\xe9", "a b"]
)
def test_a_foreign_host_is_refused(port, name):
    assert ask(port, Host=name.format(port=port))[0] in (400, 403)
    assert ask(port, **READ, body=picture(), Host=name.format(port=port))[0] in (400, 403)


@browser
@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "null"])
def test_a_foreign_origin_is_refused(port, origin):
    assert ask(port, **READ, body=picture(), Origin=origin.format(port=port))[0] == 403
    assert ask(port, Origin=origin.format(port=port))[0] == 403


@browser
@pytest.mark.parametrize(
    "path",
    [
        *(f"/{up * 12}etc/passwd" for up in ("../", "%2e%2e/", "..%2f", "%2e%2e%2f", "..%5c")),
        *(f"/{folder}//etc/passwd" for folder in ("assets", "static", "file", "read")),
        "/demo.css/../../../../../etc/passwd",
        "/demo.js%00",
        "/demo.js/",
        "/demo.html",
        "/server.py",
        "/lenet5.safetensors",
        "/file=/etc/passwd",
        "/proxy=http://127.0.0.1:1/",
        "/read/",
        "/config",
        "/docs",
        "/openapi.json",
        "//etc/passwd",
        "/" + "a" * 60_000,
    ],
)
def test_no_other_file_or_route_is_served(port, path):
    for method in ("GET", "POST"):
        status, text = ask(port, method, path, None if method == "GET" else picture())
        assert status == 404
        assert b"root:" not in text


@browser
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "X"])
def test_no_other_method_is_answered(port, method):
    for path in ("/", "/demo.js", "/read"):
        assert ask(port, method, path)[0] == 405
    assert ask(port, "GET", "/read")[0] == 405
    assert ask(port, "POST", "/", picture())[0] == 405


@browser
@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "multipart/form-data; boundary=a"])
def test_what_is_not_sent_as_a_picture_is_refused(port, kind):
    assert ask(port, **READ, body=picture(), Content_Type=kind)[0] == 415


@browser
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"/etc/passwd",
        b"file:///etc/passwd",
        b"http://127.0.0.1:1/picture.png",
        b"data:image/png;base64,aaaa",
        b"\xff\xfe\x00\x1b[31m",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS\n(/etc/passwd) run",
        picture()[:300],
        picture()[:8],
        picture()[:8] + picture()[33:],
        # a second header says that it is larger
        picture()[:33] + b"\0\0\0\rIHDR\0\0\x7f\xff\0\0\x7f\xff\x08\0\0\0\0" + bytes(4) + picture()[33:],
        picture()[:16] + b"\x7f\xff\xff\xff" * 2 + picture()[24:],
        picture(form="JPEG")[:400],
        bytes(200_000),
    ],
)
def test_what_is_no_picture_is_not_read(port, body):
    status, text = ask(port, **READ, body=body)
    assert status == 422
    assert text.decode().isprintable()
    assert text.startswith(b"The file ")
    assert b"root:" not in text


@browser
def test_a_huge_body_is_refused_with_and_without_its_length(port):
    huge = bytes(server.BODY_BYTES + 1)
    assert ask(port, **READ, body=huge)[0] == 413
    chunk = b"%x\r\n" % len(huge) + huge + b"\r\n0\r\n\r\n"
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "image/png"}
    assert ask(port, **READ, body=chunk, **chunked)[0] == 413


HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SLOW = {
    "half a head": HEAD,
    "half a second head": HEAD + b"\r\n" + HEAD,
    "half a body": b"POST /read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n{",
    "nothing": b"",
}


@browser
def test_slow_clients_are_cut_off_and_keep_nobody_waiting(port):
    with contextlib.ExitStack() as stack:
        start = time.monotonic()
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(80)]
        for each, sent in zip(slow, itertools.cycle(SLOW.values()), strict=False):
            each.sendall(sent)
        dripping = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        dripping.sendall(HEAD)
        asked = time.monotonic()
        assert ask(port)[0] == 200
        assert ask(port, **READ, body=picture())[0] == 200
        assert time.monotonic() - asked < 2
        ended = False
        while not ended:
            assert time.monotonic() - start < server.LIFETIME + 5
            time.sleep(1)
            try:
                dripping.sendall(b"X: y\r\n")
            except OSError:
                ended = True
        for each, kind in zip(slow, itertools.cycle(SLOW), strict=False):
            each.settimeout(5)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while more := each.recv(65536):
                    answer += more
            begins = {"half a body": b"HTTP/1.1 408", "half a second head": b"HTTP/1.1 200"}
            assert answer.startswith(begins.get(kind, b""))
            assert answer or kind in ("half a head", "nothing")
            assert answer.count(b"HTTP/1.1") <= 1


@browser
def test_a_thousand_idle_connections_keep_nobody_out(port):
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            idle.send(HEAD)
        start = time.monotonic()
        assert ask(port)[0] == 200
        assert ask(port, **READ, body=picture())[0] == 200
        assert time.monotonic() - start < 2


@browser
def test_large_bodies_at_once_take_little_memory(tmp_path):
    with serving(tmp_path) as (process, port), contextlib.ExitStack() as stack:
        before = megabytes(process)
        head = b"POST /read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9900001\r\n\r\n"

        def hold():
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            with contextlib.suppress(OSError):
                client.sendall(head + bytes(9_900_000))

        in_parallel(90, hold)
        assert megabytes(process) - before < 150
        assert ask(port, **READ, body=picture())[0] == 200


@browser
def test_large_pictures_at_once_keep_no_drawing_waiting_and_no_memory(tmp_path):
    large = picture(6250, 6400)
    with serving(tmp_path) as (process, port), ThreadPoolExecutor(1) as thread:
        ask(port, **READ, body=picture())
        before = megabytes(process)
        uploads = thread.submit(in_parallel, 20, lambda: ask(port, **READ, body=large)[0])
        while not uploads.done():
            start = time.monotonic()
            assert ask(port, **READ, body=picture())[0] == 200
            assert time.monotonic() - start < 2
            assert megabytes(process) - before < 150
            time.sleep(0.1)
        assert set(uploads.result()) == {200, 503}
        assert megabytes(process) - before < 50
        assert (tmp_path / "err").read_text() == ""


@browser
def test_a_hostile_picture_is_refused_in_time_and_keeps_no_drawing_waiting(port):
    with ThreadPoolExecutor(1) as thread:
        start = time.monotonic()
        upload = thread.submit(ask, port, **READ, body=scans(50_000))
        while not upload.done():
            asked = time.monotonic()
            assert ask(port, **READ, body=picture())[0] == 200
            assert time.monotonic() - asked < 2
            time.sleep(0.3)
        assert upload.result()[0] in (422, 503)
        assert time.monotonic() - start < server.ARRIVAL + server.DECODING
    assert ask(port, **READ, body=picture(900, 900))[0] == 200


@browser
def test_who_goes_away_is_no_error(port):
    for sent in SLOW.values():
        socket.create_connection(("127.0.0.1", port)).close()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(sent)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert ask(port)[0] == 200


@browser
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/demo.js", 200), ("GET", "/none", 404), ("PUT", "/", 405), ("POST", "/read", 415)],
)
def test_every_answer_restricts_what_a_browser_may_do(port, method, path, status):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path)
    answer = connection.getresponse()
    assert answer.status == status
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Connection"] == "close"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Server" not in answer.headers
    connection.close()


@browser
def test_the_page_names_its_weights_as_text(tmp_path):
    (tmp_path / "<b>.safetensors").write_bytes(weights.SHIPPED.read_bytes())
    with serving(tmp_path, "--weights", "<b>.safetensors") as (_, port):
        text = ask(port)[1]
        assert b"&lt;b&gt;.safetensors" in text
        assert b"<b>.safetensors" not in text


@browser
def test_only_127_0_0_1_is_listened_on(port):
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1"}
    for address in ("127.0.0.2", "::1", *others):
        with pytest.raises(OSError, match=r"refused|assign|unreachable|not supported"):
            socket.create_connection((address, port), timeout=5).close()


@browser
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_silently_and_leaves_nothing(tmp_path, sent, code):
    with serving(tmp_path) as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as page:  # a page that is open
            page.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert page.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(sent)
            assert process.wait(10) == code
        assert list((tmp_path / "tmp").iterdir()) == []
        assert (tmp_path / "err").read_text() == ""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


@browser
def test_it_ends_at_once_while_it_decodes(tmp_path):
    large = picture(7000, 7000)
    with serving(tmp_path) as (process, port), ThreadPoolExecutor(6) as threads:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for _ in range(6):
            threads.submit(ask, port, **READ, body=large)
        while not (decoding := children.read_text().split()):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 143
        assert not any(Path("/proc", child).exists() for child in decoding)
        assert (tmp_path / "err").read_text() == ""


@browser
def test_another_host_is_warned_about_and_served_by_its_address(tmp_path):
    with serving(tmp_path, "--host", "0.0.0.0") as (_, port):
        assert "whoever can reach" in (tmp_path / "err").read_text()
        assert ask(port)[0] == 200
        assert ask(port, Host="evil.example")[0] == 403


@pytest.fixture
def restored(monkeypatch, tmp_path):
    """What the command changes in its process is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    yield monkeypatch
    signal.signal(signal.SIGTERM, handler)


def test_a_taken_port_is_one_line_that_names_the_option(restored, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["demo", "--port", str(taken.getsockname()[1])]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "in use" in err
    assert "--port" in err


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--port", "x"),
        ("--host", "192.0.2.1"),  # an address that no machine has
        ("--host", "a..b"),
        ("--weights", "none.safetensors"),
        ("--share",),
    ],
)
def test_invalid_options_are_one_line(restored, capfd, options):
    assert main(["demo", "--port", "0", *options]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert options[0] in err or options[1] in err


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_its_server_it_names_the_extra_to_install(restored, capfd, missing):
    restored.delattr(inference, "server")
    for name in [*sys.modules]:
        if name.split(".")[0] in ("starlette", "uvicorn") or name == "lenet_lightning.inference.server":
            restored.delitem(sys.modules, name)
    restored.setitem(sys.modules, missing, None)
    assert main(["demo", "--port", "0"]) == 2
    assert "pip install 'lenet_lightning[demo]'" in capfd.readouterr().err
