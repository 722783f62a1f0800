import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from lenet_lightning import weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """Commands that write where they are, and take SIGTERM for themselves, leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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
def port(tmp_path_factory, request):
    """The port of a page that all tests of a file use: each finds it still serving after the one before.

    A file that names more weights in WEIGHTS has a menu of them, after the shipped ones.
    """
    folder = tmp_path_factory.mktemp("demo")
    more = [write(folder) for write in getattr(request.module, "WEIGHTS", ())]
    with serving(folder, *map(str, more)) as (process, port):
        yield port
        assert process.poll() is None
        assert (folder / "err").read_text() == ""


@pytest.fixture(scope="session")
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
    """Open the page; at the end no request has gone elsewhere, nothing was blocked and no script failed."""
    requested, complaints, contexts = [], [], []

    def open_page(width=1280, height=800, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(f"Content Security Policy or script: {error}"))
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator(".headline")).to_have_text("Draw a digit")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requested if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))] == []
    assert [text for text in complaints if "Content Security Policy" in text] == []
