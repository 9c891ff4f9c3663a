"""Makes tiny.onnx, tiny-int8.onnx (dynamic quantisation) and onnx.json: a small made-up BERT as
an exporter would write it, and its vectors as onnxruntime computes them, each text alone.

    pip install numpy onnx onnxruntime
    python onnx_models.py <directory to write into>
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

HIDDEN, HEADS, WIDE, WORDS, PLACES = 16, 2, 32, 50, 40
TEXTS = [[0, 2], [0, 7, 11, 2], [0] + [3 + (i * i) % 46 for i in range(20)] + [2], [0] + [4] * 38 + [2]]


class Builder:
    def __init__(self):
        self.nodes, self.constants = [], []

    def op(self, kind, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def made_up(self, *shape, around=0.0, by=0.4):
        start = len(self.constants)
        wave = [around + by * math.sin(start + 0.7 * i + 0.013 * i * i) for i in range(int(np.prod(shape)))]
        return self.constant(np.array(wave, dtype=np.float32).reshape(shape))

    def ints(self, *values):
        return self.constant(np.array(values, dtype=np.int64))

    def linear(self, x, inputs, outputs):
        return self.op("Add", self.op("MatMul", x, self.made_up(inputs, outputs)), self.made_up(outputs))

    def norm(self, x):
        scale, bias = self.made_up(HIDDEN, around=1.0, by=0.1), self.made_up(HIDDEN)
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)


def build():
    b = Builder()
    words = b.op("Gather", b.made_up(WORDS, HIDDEN), "input_ids")
    kinds = b.op("Gather", b.made_up(2, HIDDEN), "token_type_ids")
    length = b.op("Slice", b.op("Shape", "input_ids"), b.ints(1), b.ints(2))
    places = b.op("Slice", b.made_up(PLACES, HIDDEN), b.ints(0), length, b.ints(0))
    x = b.norm(b.op("Add", b.op("Add", words, kinds), places))
    mask = b.op("Cast", b.op("Unsqueeze", "attention_mask", b.ints(1, 2)), to=TensorProto.FLOAT)
    mask = b.op("Sub", b.constant(np.float32(1).reshape(())), mask)
    mask = b.op("Mul", mask, b.constant(np.float32(np.finfo(np.float32).min).reshape(())))
    split, join = b.ints(0, 0, HEADS, HIDDEN // HEADS), b.ints(0, 0, HIDDEN)
    head = lambda order: b.op("Transpose", b.op("Reshape", b.linear(x, HIDDEN, HIDDEN), split), perm=order)
    query, key, value = head([0, 2, 1, 3]), head([0, 2, 3, 1]), head([0, 2, 1, 3])
    scale = b.constant(np.float32(math.sqrt(HIDDEN / HEADS)).reshape(()))
    scores = b.op("Add", b.op("Div", b.op("MatMul", query, key), scale), mask)
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), value)
    mixed = b.op("Reshape", b.op("Transpose", mixed, perm=[0, 2, 1, 3]), join)
    x = b.norm(b.op("Add", b.linear(mixed, HIDDEN, HIDDEN), x))
    wide = b.linear(x, HIDDEN, WIDE)
    gelu = b.op("Erf", b.op("Div", wide, b.constant(np.float32(math.sqrt(2)).reshape(()))))
    gelu = b.op("Mul", wide, b.op("Add", gelu, b.constant(np.float32(1).reshape(()))))
    gelu = b.op("Mul", gelu, b.constant(np.float32(0.5).reshape(())))
    x = b.norm(b.op("Add", b.linear(gelu, WIDE, HIDDEN), x))
    b.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"]) for n in names]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", HIDDEN])]
    graph = helper.make_graph(b.nodes, "tiny", inputs, outputs, b.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def vectors(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result = []
    for ids in TEXTS:
        ids = np.array([ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        vector = session.run(None, feed)[0][0].astype(np.float64).mean(0)
        vector /= np.linalg.norm(vector)
        result.append([round(v, 7) for v in vector.tolist()])
    return result


directory = Path(sys.argv[1])
exact, small = directory / "tiny.onnx", directory / "tiny-int8.onnx"
onnx.save(build(), exact)
quantize_dynamic(exact, small, weight_type=QuantType.QInt8)
result = {"texts": TEXTS, "tiny.onnx": vectors(exact), "tiny-int8.onnx": vectors(small)}
(directory / "onnx.json").write_text(json.dumps(result))
