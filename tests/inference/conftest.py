import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
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


@pytest.fixture(scope="session")
def threes(tmp_path_factory):
    """An ONNX file that calls everything a 3; it is read in a fraction of the time that torch takes to import."""
    path = tmp_path_factory.mktemp("threes") / "threes.onnx"
    kind = onnx.TensorProto.FLOAT
    ports = {"pixels": ["N", 1, 28, 28], "logits": ["N", 10]}
    pixels, logits = (onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in ports.items())
    values = {"weight": np.zeros((784, 10), np.float32), "bias": 5 * np.eye(10, dtype=np.float32)[3]}
    nodes = [
        onnx.helper.make_node("Flatten", ["pixels"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = onnx.helper.make_graph(nodes, "threes", [pixels], [logits], constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


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
