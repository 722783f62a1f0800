"""What this project uses of other packages beyond their documentation: a failure here says what an upgrade changed."""

import asyncio
import inspect
import io
import socket
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import uvicorn
from onnx import helper, numpy_helper
from PIL import Image, TiffTags
from uvicorn.protocols.http.h11_impl import H11Protocol

from lenet_lightning import LeNet5, Recognizer, pickled, weights
from lenet_lightning.errors import RunError
from lenet_lightning.inference import onnx_model
from lenet_lightning.inference.bounded import BoundedFile


def test_uvicorn_tells_its_protocol_of_connections_and_the_application_of_their_address():
    """inference/server.py: Connection counts and ends connections, Guard allows the address connected to."""
    assert issubclass(H11Protocol, asyncio.Protocol)
    assert list(inspect.signature(H11Protocol.connection_made).parameters) == ["self", "transport"]
    assert list(inspect.signature(H11Protocol.connection_lost).parameters) == ["self", "exc"]
    made, lost, scopes = [], [], []

    class Connection(H11Protocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            made.append(transport)

        def connection_lost(self, exc):
            super().connection_lost(exc)
            lost.append(self.transport)

    async def app(scope, receive, send):
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body"})

    async def ask(listening):
        server = uvicorn.Server(uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_level="critical"))
        serving = asyncio.create_task(server.serve([listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.should_exit = True
        await serving
        return answer

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        assert asyncio.run(ask(listening)).startswith(b"HTTP/1.1 204")
    assert [scope["server"] for scope in scopes] == [address]
    assert (len(made), made) == (1, lost)
    assert callable(made[0].abort)


PLAIN = {
    "tensors": {kind: torch.zeros(2, dtype=kind) for kind in (*weights.FLOATS, torch.int64, torch.uint8, torch.bool)},
    "parameters": dict(LeNet5().named_parameters()),
    "state_dict": LeNet5().state_dict(),
    "others": [torch.Size([1, 2]), torch.float32, torch.device("cpu"), {1}, (1, None), "text", 0.5, True],
}


@pytest.mark.parametrize("zipped", [True, False])
def test_the_names_in_what_torch_saves_are_those_that_are_allowed(tmp_path, zipped):
    """pickled.py, _GLOBALS: a name that torch begins to write would make its own files unreadable here."""
    torch.save(PLAIN, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert pickled.unpickle(tmp_path / "w.pth").keys() == PLAIN.keys()


@pytest.mark.parametrize(
    "content",
    {
        "STACK_GLOBAL": b"\x80\x04\x8c\x08builtins\x8c\x03set\x93.",
        "INST": b"(ibuiltins\nset\n.",
        "EXT1": b"\x80\x02\x82\x01.",
    }.items(),
    ids=lambda item: item[0],
)
def test_torch_imports_by_no_other_opcode_than_the_one_that_is_checked(tmp_path, content):
    """pickled.py, _check_pickle: it looks at the names of GLOBAL; torch.load refuses whatever else imports."""
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", content[1])
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    with pytest.raises(RunError, match="something other than tensors"):
        pickled.unpickle(tmp_path / "w.pth")


def network(path, *nodes, **constants):
    """An ONNX network from images to logits that also runs these nodes."""
    constants |= {"shape": np.array([-1, 784])}
    nodes = [
        helper.make_node("Reshape", ["pixels", "shape"], ["flat"]),
        helper.make_node("Slice", ["flat", "from", "to", "axes"], ["ten"]),
        *nodes,
    ]
    constants |= {"from": np.array([0]), "to": np.array([10]), "axes": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", 1, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", 1, ["N", 10])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_onnx_runtime_takes_its_memory_from_the_arena_that_is_limited(tmp_path):
    """inference/onnx_session.py: "max_mem", "session.use_env_allocators", and that "ConstantFolding" is off."""
    large = [
        helper.make_node("Expand", ["zero", "size"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["ten", "sum"], ["logits"]),
    ]
    zero = np.zeros(1, np.float32)
    Recognizer(network(tmp_path / "small.onnx", *large, zero=zero, size=np.array([1_000])), insist=True)
    with pytest.raises(RunError, match="memory"):
        Recognizer(network(tmp_path / "large.onnx", *large, zero=zero, size=np.array([150_000_000])))


def test_onnx_runtime_refuses_its_own_format(tmp_path, monkeypatch):
    """inference/onnx_session.py: "session.load_model_format"; that format is not checked."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.optimized_model_filepath = str(tmp_path / "ort.onnx")
    path = network(tmp_path / "network.onnx", helper.make_node("Neg", ["ten"], ["logits"]))
    onnxruntime.InferenceSession(path, options)
    assert onnxruntime.InferenceSession((tmp_path / "ort.onnx").read_bytes()).get_inputs()
    monkeypatch.setattr(onnx_model, "check", lambda content: None)
    with pytest.raises(RunError, match="cannot be loaded as ONNX"):
        Recognizer(tmp_path / "ort.onnx")


def opened(form, mode="RGB", **options):
    """A picture that Pillow has written and opened again, and the file it reads it from."""
    stream = io.BytesIO()
    Image.new(mode, (64, 48)).save(stream, form, **options)
    file = BoundedFile(stream)
    return Image.open(file), file


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_pillow_lists_what_is_to_be_decoded_in_tile(form):
    """inference/bounded.py, decode and has_second_frame: `tile` has extents and offsets; `fp` is the file given."""
    image, file = opened(form)
    for part in image.tile:
        assert part[1] == part.extents == (0, part.extents[1], 64, part.extents[3])
        assert isinstance(part.offset, int)
    assert image.tile or form == "WEBP"
    assert image.fp is file


def test_a_gif_s_tile_begins_where_its_first_frame_s_data_do():
    """inference/bounded.py, has_second_frame: what follows the offset are sized blocks, up to an empty one."""
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 255)]
    for more in ([], frames[1:]):
        stream = io.BytesIO()
        frames[0].save(stream, "GIF", save_all=True, append_images=more)
        file = BoundedFile(stream)
        with Image.open(file) as image:
            assert file.has_second_frame(image) == bool(more)


@pytest.mark.parametrize("progressive", [False, True])
def test_pillow_keeps_a_jpeg_s_colours_in_layer_and_stops_at_its_first_scan(progressive):
    """inference/bounded.py, decode: the sampling of each colour, and the count of colours in the first scan."""
    image, file = opened("JPEG", subsampling="4:2:0", progressive=progressive)
    assert [(wide, high) for _, wide, high, _ in image.layer] == [(2, 2), (1, 1), (1, 1)]
    assert ("progressive" in image.info) == progressive
    assert file._last[0] in ((1, 3) if progressive else (3,))


def test_pillow_reads_a_jpeg_s_exif_whole():
    """inference/bounded.py, _check_metadata: read in parts, EXIF would not be checked before Pillow parses it."""
    exif = Image.Exif()
    exif[0x010E] = "x" * 1_000
    _, file = opened("JPEG", exif=exif)
    assert b"x" * 1_000 in file._exif


def test_pillow_keeps_a_tiff_s_tags_by_number_in_tag_v2():
    """inference/bounded.py, decode: how many bytes a strip or a tile takes."""
    image, _ = opened("TIFF", tiffinfo={278: 16})
    assert [TiffTags.lookup(tag).name for tag in (322, 323, 278, 277, 258)] == [
        *("TileWidth", "TileLength", "RowsPerStrip", "SamplesPerPixel", "BitsPerSample"),
    ]
    assert (image.tag_v2.get(322), image.tag_v2[277], image.tag_v2[258]) == (None, 3, (8, 8, 8))
    assert image.tag_v2[278] in (16, 48)
