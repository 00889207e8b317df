"""A user's own parsing network, on tiny ones that tell classes by colour."""

import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from flare_cli.data.celebamask import Label
from flare_cli.errors import FlareError
from flare_cli.track.label.parser import MEAN, checked_parser, parsed_labels

# Which class each of red, green and blue speaks for.
SPEAKS_FOR = (Label.HAIR, Label.SKIN, Label.GLASSES)


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer: a number, or a message or text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def value_info(name: bytes, channels: int) -> bytes:
    dims = b"".join(field(1, field(1, n)) for n in (1, channels, 512, 512))
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def onnx_of(classes: int) -> bytes:
    """An ONNX file by hand (onnx.proto): one 1 x 1 convolution from colours to classes."""
    weights = np.zeros((classes, 3, 1, 1), "<f4")
    weights[list(SPEAKS_FOR), range(3)] = 1
    tensor = b"".join(field(1, n) for n in weights.shape) + field(2, 1) + field(8, b"w") + field(9, weights.tobytes())
    kernel = field(1, b"kernel_shape") + field(8, 1) + field(8, 1) + field(20, 7)  # a list of whole numbers: 1, 1
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Conv") + field(5, kernel)
    graph = field(1, node) + field(2, b"g") + field(5, tensor)
    graph += field(11, value_info(b"x", 3)) + field(12, value_info(b"y", classes))
    return field(1, 8) + field(8, field(1, b"") + field(2, 13)) + field(7, graph)


def tflite_of() -> bytes:
    """The same as TFLite, channels last."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    weights = np.zeros((len(Label), 1, 1, 3), "<f4")
    weights[list(SPEAKS_FOR), 0, 0, range(3)] = 1

    def tensor(name: str, shape: tuple[int, ...], buffer: int) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, buffer
        return made

    def buffer_of(values: np.ndarray | None) -> schema.BufferT:
        made = schema.BufferT()
        made.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
        return made

    code, operator, options = schema.OperatorCodeT(), schema.OperatorT(), schema.Conv2DOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = [
        tensor("x", (1, 64, 64, 3), 0), tensor("w", weights.shape, 1), tensor("b", (len(Label),), 2),
        tensor("y", (1, 64, 64, len(Label)), 0),
    ]  # fmt: skip
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [buffer_of(values) for values in (None, weights, np.zeros(len(Label), "<f4"))]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(params=["onnx", "tflite"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"parser.{request.param}"
    path.write_bytes(onnx_of(len(Label)) if request.param == "onnx" else tflite_of())
    return path


def test_each_pixel_gets_the_class_of_the_highest_score(network: Path):
    rgb = np.full((80, 80, 3), np.multiply(MEAN, 255).round(), np.uint8)
    for i in range(3):
        rgb[:, 10 + 20 * i : 30 + 20 * i, i] = 255
    labels = checked_parser(network)(rgb)
    for i, label in enumerate(SPEAKS_FOR):
        assert (labels[:, 12 + 20 * i : 28 + 20 * i] == label).all()


def test_another_file_has_another_digest(tmp_path: Path):
    digests = []
    for name, bias in (("one", b""), ("two", field(2, b"producer"))):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(onnx_of(len(Label)) + bias)
        digests.append(checked_parser(path).digest())
    assert digests[0] != digests[1]


def test_only_a_person_is_labelled():
    ours = np.array([[0, Label.SKIN, Label.SKIN]], np.uint8)
    parsed = np.array([[Label.HAIR, Label.HAIR, 0]], np.uint8)
    assert parsed_labels(parsed, ours).tolist() == [[0, Label.HAIR, Label.SKIN]]


def damaged(path: Path) -> Path:
    path.with_suffix(".onnx").write_bytes(struct.pack("<20I", *range(20)))
    return path.with_suffix(".onnx")


def of_one_class(path: Path) -> Path:
    path.with_suffix(".tflite").write_bytes(
        (files("flare_cli") / "assets" / "mediapipe" / "selfie_segmentation.tflite").read_bytes()
    )
    return path.with_suffix(".tflite")


def of_another_kind(path: Path) -> Path:
    path.with_suffix(".pth").write_bytes(b"x")
    return path.with_suffix(".pth")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path / "none.onnx", "can't be read"),
        (damaged, "can't be loaded"),
        (of_one_class, "answers with numbers of shape"),
        (of_another_kind, "not a face parser"),
    ],
)
def test_what_is_no_parser_is_refused(make, told: str, tmp_path: Path):
    with pytest.raises(FlareError, match=told):
        checked_parser(make(tmp_path / "parser"))
