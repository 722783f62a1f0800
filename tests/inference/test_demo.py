"""The drawing page, drawn on in Chromium (from Debian), and what it refuses."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect, sync_playwright

from lenet_lightning.__main__ import main
from lenet_lightning.inference import demo, weights

ROOT = Path(__file__).parents[2]
ONE = [(0.5, 0.15), (0.5, 0.85)]
SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.82)]

browser = pytest.mark.browser


@contextlib.contextmanager
def serving(folder, *options):
    """The page in a process of its own, with `folder`/tmp for its temporary files: (process, port)."""
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "lenet_lightning", "demo", "--port", "0", "--weights", str(weights.SHIPPED)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen([*command, *options], cwd=folder, env=environment, stdout=out, stderr=err)
    try:
        for _ in range(600):
            if ready := re.search(r"http://\S+:(\d+) ", (folder / "out").read_text()):
                break
            assert process.poll() is None, (folder / "err").read_text()
            time.sleep(0.1)
        yield process, int(ready[1])
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The port of a page that all tests use: each finds it still serving after the one before."""
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder) as (process, port):
        yield port
        assert process.poll() is None


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    if not shutil.which("chromium"):
        pytest.skip("needs Debian's chromium; CI installs it")
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{each}" for each in quiet)],
        )
        yield started
        started.close()


@pytest.fixture
def opened(chromium, port):
    """Open the page; at the end no request has gone elsewhere, and nothing was blocked."""
    requested, complaints, contexts = [], [], []

    def open_page(width=1280, height=800, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator(".headline")).to_have_text("Draw a digit")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requested if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))] == []
    assert [text for text in complaints if "Content Security Policy" in text] == []


def on_canvas(page, points):
    box = page.locator("canvas").bounding_box()
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
def test_a_one_and_a_seven_drawn_with_the_pointer_are_read(opened, tmp_path):
    page = opened(device_scale_factor=1.35)
    draw(page, ONE)
    headline(page, "1")
    page.get_by_role("button", name="Clear").click()
    headline(page, "Draw a digit")
    draw(page, SEVEN)
    headline(page, "7")
    page.wait_for_load_state("networkidle")  # until the stroke's end is read, too
    lowest = "image => { const pen = document.createElement('canvas').getContext('2d'); pen.drawImage(image, 0, 0);" + (
        "return pen.getImageData(0, 0, 28, 28).data.findLastIndex((value, at) => at % 4 == 0 && value > 99) / 112 }"
    )
    assert page.locator("img.seen").evaluate(lowest) > 22
    shares = [float(text.rstrip("%")) for text in page.locator(".result li span").all_inner_texts()]
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert page.locator(".result li").first.inner_text().startswith("7")
    assert page.locator("img.seen").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    assert "99.56% of MNIST's 10,000 test digits" in page.locator(".faint").inner_text()
    assert fits(page)
    box = page.locator(".demo").bounding_box()
    around = {"x": box["x"] - 24, "y": 0, "width": 948, "height": box["y"] + box["height"] + 24}
    page.screenshot(path=tmp_path / "demo.png", clip=around)  # docs/demo.png


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
def test_what_is_no_picture_is_said_and_the_page_goes_on(opened, tmp_path):
    page = opened()
    (tmp_path / "letter.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "letter.png")
    headline(page, "No digit read")
    assert page.locator(".notice").inner_text()
    assert str(tmp_path.root) + "tmp" not in page.locator(".notice").inner_text()
    (tmp_path / "large.png").write_bytes(bytes(7_000_001))
    page.locator("input[type=file]").set_input_files(tmp_path / "large.png")
    expect(page.locator(".notice")).to_contain_text("larger than 7 MB")
    draw(page, ONE)
    headline(page, "1")


@browser
@pytest.mark.parametrize("fault", ["abort", "status"])
def test_a_program_that_does_not_answer_is_noticed(opened, fault):
    page = opened()
    page.route(f"**{demo.READ}", lambda route: route.abort() if fault == "abort" else route.fulfill(status=500))
    draw(page, ONE)
    expect(page.locator(".notice")).to_contain_text("does the program still run?")
    page.unroute(f"**{demo.READ}")
    draw(page, ONE)
    headline(page, "1")


def ask(port, method="GET", path="/", body=None, **headers):
    """Send a request as it is: (status, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": f"127.0.0.1:{port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and "Transfer-Encoding" not in headers:
        headers = {"Content-Length": str(len(body)), "Content-Type": "application/json"} | headers
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it answers before all is sent
        connection.send(body or b"")
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, text


def event(data, **changes):
    """The body with which the page asks for a picture to be read, as JSON."""
    return json.dumps({"data": data, "component_id": 1, "fn_name": "read", "session_hash": "a"} | changes).encode()


READ = {"method": "POST", "path": demo.READ}


@browser
def test_an_event_by_hand_is_answered_as_the_pages_own(port, tmp_path):
    picture = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(picture).line([(140, 40), (140, 240)], fill=0, width=22)
    picture.save(tmp_path / "one.png")
    sent = "data:image/png;base64," + b64encode((tmp_path / "one.png").read_bytes()).decode()
    status, text = ask(port, **READ, body=event(sent), Origin=f"http://127.0.0.1:{port}")
    assert status == 200
    assert '<div class=\\"digit\\">1</div>' in text.decode()


@browser
@pytest.mark.parametrize("name", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "127.0.0.2", "["])
def test_a_foreign_host_is_refused(port, name):
    assert ask(port, Host=name.format(port=port))[0] == 403
    assert ask(port, **READ, body=event(""), Host=name.format(port=port))[0] == 403


@browser
@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "null"])
def test_a_foreign_origin_is_refused(port, origin):
    assert ask(port, **READ, body=event(""), Origin=origin.format(port=port))[0] == 403
    assert ask(port, Origin=origin.format(port=port))[0] == 403


@browser
@pytest.mark.parametrize(
    "path",
    [
        *(
            "/gradio_api/" + route + "=" + file
            for route in ("file", "proxy")
            for file in (
                "/etc/passwd",
                "..%2f..%2fetc%2fpasswd",
                "http://127.0.0.1:1/",
                "%2e%2e/%2e%2e/etc/passwd",
                "/etc/passwd%00.png",
            )
        ),
        "/file=/etc/passwd",
        "/gradio_api/file//etc/passwd",
        *(
            f"/{folder}/{up * 12}etc/passwd"
            for folder in ("assets", "static")
            for up in ("../", "%2e%2e/", "..%2f", "%2e%2e%2f")
        ),
        "/assets//etc/passwd",
        "/static/%2fetc/passwd",
        "/assets/index%00.js",
        "/gradio_api/startup-events/../../config",
        "/custom_component/a/b/c/d",
        "/config",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/docs",
        "//etc/passwd",
    ],
)
def test_no_file_and_no_other_route_is_given_out(port, path):
    status, text = ask(port, path=path)
    assert status in (400, 403, 404)
    assert b"root:" not in text


@browser
@pytest.mark.parametrize("path", ["upload", "queue/join", "run/predict", "call/read", "component_server", "vibe-edit/"])
def test_the_rest_of_gradio_takes_nothing(port, path):
    assert ask(port, "POST", f"/gradio_api/{path}", event(""))[0] == 404


@browser
@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        ["data:image/png;base64,aa"],
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "http://127.0.0.1:1/", "url": "http://127.0.0.1:1/", "meta": {"_type": "gradio.FileData"}},
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/picture.png",
        "data:image/png;base64,***",
        float("nan"),
        float("inf"),
    ],
)
def test_what_is_no_picture_is_not_read(port, data):
    status, text = ask(port, **READ, body=event(data))
    assert status == 200
    assert b"No digit read" in text
    assert b"root:" not in text


@browser
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        event("", component_id="x"),
        event("", component_id=10**30),
        event("", component_id=99),
        event("", component_id=float("nan")),
        event("", fn_name="__class__"),
        event("", fn_name="postprocess"),
        event("", session_hash=None),
    ],
)
def test_a_malformed_event_is_an_error(port, body):
    assert ask(port, **READ, body=body)[0] in (400, 404, 422, 500)


@browser
def test_a_huge_body_is_refused_with_and_without_its_length(port):
    huge = bytes(demo.BODY_BYTES + 1)
    assert ask(port, **READ, body=huge)[0] == 413
    chunk = b"%x\r\n" % len(huge) + huge + b"\r\n0\r\n\r\n"
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    assert ask(port, **READ, body=chunk, **chunked)[0] == 413
    form = {"Content_Type": "multipart/form-data; boundary=a"}
    assert ask(port, **READ, body=b"--a--", **form)[0] == 415


@browser
def test_slow_clients_are_cut_off_and_keep_nobody_waiting(port):
    halves = (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1",
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        % (demo.READ.encode()),
    )
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(100)]
        for index, each in enumerate(slow):
            each.sendall(halves[index % 2])
        start = time.monotonic()
        assert ask(port)[0] == 200
        assert time.monotonic() - start < 2
        for index, each in enumerate(slow):
            each.settimeout(demo.SECONDS + 5)
            answer = each.recv(100)
            assert answer.startswith(b"HTTP/1.1 408") if index % 2 else answer == b""


@browser
def test_the_page_says_what_a_browser_may_do_with_it(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers
    connection.close()


@browser
def test_only_127_0_0_1_is_listened_on(port):
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1"}
    for address in ("127.0.0.2", "::1", *others):
        with pytest.raises(OSError, match=r"refused|assign|unreachable|not supported"):
            socket.create_connection((address, port), timeout=5).close()


@browser
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_without_a_word_and_leaves_nothing(tmp_path, sent, code):
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
def test_another_host_is_warned_about_and_served_by_its_address(tmp_path):
    with serving(tmp_path, "--host", "0.0.0.0") as (_, port):
        assert "whoever can reach" in (tmp_path / "err").read_text()
        assert ask(port)[0] == 200
        assert ask(port, Host="evil.example")[0] == 403


@pytest.fixture
def restored(monkeypatch, tmp_path):
    """What the command changes in its process is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
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
def test_what_cannot_be_asked_for_is_one_line(restored, capfd, options):
    assert main(["demo", "--port", "0", *options]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert options[0] in err or options[1] in err


def test_without_gradio_it_says_how_to_get_it(restored, capfd):
    restored.setitem(sys.modules, "gradio", None)
    assert main(["demo", "--port", "0"]) == 2
    assert "pip install 'lenet_lightning[demo]'" in capfd.readouterr().err
