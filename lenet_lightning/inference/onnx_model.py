"""Check an ONNX file before ONNX Runtime builds anything of it. Imports neither onnx nor torch.

The fields' numbers are those of onnx.proto3. Where protobuf keeps the last of a repeated field, each one is checked.
"""

from collections.abc import Callable, Iterator

import numpy as np

from lenet_lightning.errors import one_line

MOST_STRUCTURE = 1_000_000  # bytes without the weights; ours have 5,000
MOST_NODES = 1_000  # ours have 30

# operators that exporters use for networks from one image to ten logits; none of them loops or branches
_NAMES = """
    Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv Div Dropout
    Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or
    PRelu Pad Pow Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Relu Reshape Round
    ScatterElements ScatterND Selu Shape Sigmoid Sign Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum
    Tanh Tile Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())

_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}
_WHOLE = {2, 3, 4, 5, 6, 7, 9, 12, 13}  # integers and bool

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # protobuf's wire types


def check(content: bytes) -> None:
    """Check the bytes of an ONNX file.

    Raises:
        ValueError: it is damaged; has operators other than OPERATORS, graphs within graphs, functions, weights in
            other files or weights that are not finite; or is too large.
    """
    model = _Model()
    model.check_fields(
        memoryview(content),
        {7: model.graph, 25: _refuse("functions of its own")},
    )
    if not model.nodes:
        raise ValueError("it has no graph")


Rules = dict[int, Callable[[memoryview], None]]


def _refuse(what: str) -> Callable[[memoryview], None]:
    def refuse(_: memoryview) -> None:
        raise ValueError(f"it must have no {what}")

    return refuse


class _Model:
    def __init__(self) -> None:
        self.nodes = 0
        self.left = MOST_STRUCTURE

    def check_fields(self, message: memoryview, rules: Rules) -> None:
        for number, kind, value in self.fields(message):
            if isinstance(value, memoryview) and kind == _BYTES:
                if number in rules:
                    rules[number](value)
                else:
                    self.spend(len(value))

    def graph(self, message: memoryview) -> None:
        self.check_fields(message, {1: self.node, 5: self.tensor, 15: _refuse("sparse weights")})

    def node(self, message: memoryview) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise ValueError(f"it must have at most {MOST_NODES:,} operators")
        self.check_fields(message, {4: self.operator, 5: self.attribute, 7: self.domain})

    def operator(self, name: memoryview) -> None:
        text = bytes(name).decode("utf-8", "replace")
        if text not in OPERATORS:
            raise ValueError(f"it has the operator {one_line(text, 60)}, which no network for one digit needs")

    def domain(self, name: memoryview) -> None:
        if bytes(name) not in (b"", b"ai.onnx"):
            text = one_line(bytes(name).decode("utf-8", "replace"), 60)
            raise ValueError(f"its operators must be ONNX's own, it has one of {text}")

    def attribute(self, message: memoryview) -> None:
        inner, sparse = _refuse("graph within a graph"), _refuse("sparse weights")
        self.check_fields(message, {5: self.tensor, 6: inner, 10: self.tensor, 11: inner, 22: sparse, 23: sparse})

    def tensor(self, message: memoryview) -> None:
        kind_of, values = 0, list[tuple[int, memoryview]]()
        for number, kind, value in self.fields(message):
            if number == 2 and isinstance(value, int):
                kind_of = value
            elif number == 13 or (number == 14 and value):
                raise ValueError("it must hold its weights itself, they are in another file")
            elif isinstance(value, memoryview):
                if number in (4, 9, 10):
                    values.append((number, value))
                elif kind == _BYTES:
                    self.spend(len(value))
        if kind_of not in _FLOATS and kind_of not in _WHOLE:
            raise ValueError(f"its weights must be floats or integers, it has some of ONNX's type {kind_of}")
        for number, value in values:
            as_written = {4: "<f4", 9: _FLOATS.get(kind_of), 10: "<f8"}[number]
            if as_written and not np.isfinite(np.frombuffer(value, as_written)).all():
                raise ValueError("it has weights that are not finite")

    def fields(self, message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
        """Yield number, kind and value of each field of a protobuf message; the value of a varint is an int."""
        at = 0
        value: int | memoryview
        while at < len(message):
            start = at
            key, at = _varint(message, at)
            number, kind = key >> 3, key & 7
            # protobuf truncates a longer key to 32 bits, and so would see another field than is checked here
            if key >= 2**32:
                raise ValueError("it is damaged")
            if kind == _VARINT:
                value, at = _varint(message, at)
                self.spend(at - start)
            elif kind in (_EIGHT, _BYTES, _FOUR):
                size, at = _varint(message, at) if kind == _BYTES else ({_EIGHT: 8, _FOUR: 4}[kind], at)
                self.spend(at - start)
                value, at = message[at : at + size], at + size
            if kind not in (_VARINT, _EIGHT, _BYTES, _FOUR) or at > len(message):
                raise ValueError("it is damaged")
            yield number, kind, value

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError(f"it must have at most {MOST_STRUCTURE:,} bytes besides weights")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is damaged")
