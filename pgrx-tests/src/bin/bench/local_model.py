# Texts embedded by onnxruntime: the reference of the case local-model. Builds the graph of a BERT
# encoder over the weights of the directory, as ONNX of operator set 20. Arguments: the model's
# directory, a file with texts that end with NUL and have the same number of tokens each, and the
# number of threads. Prints the seconds, the anonymous memory in kB that it took, and the vector
# of the first text.
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

BATCH = 32


def graph(weights, config):
    """The encoder, from tokens to normalised means of their last states."""
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def apply(operator, inputs, **attributes):
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def linear(x, prefix):
        product = apply("MatMul", [x, constant(prefix + ".w", weights[prefix + ".weight"].T)])
        return apply("Add", [product, constant(prefix + ".b", weights[prefix + ".bias"])])

    def norm(x, prefix):
        scale = constant(prefix + ".s", weights[prefix + ".weight"])
        shift = constant(prefix + ".h", weights[prefix + ".bias"])
        return apply("LayerNormalization", [x, scale, shift], axis=-1, epsilon=config["layer_norm_eps"])

    heads = config["num_attention_heads"]
    size = config["hidden_size"] // heads
    split = constant("split", np.array([0, 0, heads, size], np.int64))
    joined = constant("joined", np.array([0, 0, heads * size], np.int64))
    scale = constant("scale", np.array(size**-0.5, np.float32))

    words = apply("Gather", [constant("words", weights["embeddings.word_embeddings.weight"]), "tokens"])
    positions = constant("positions", weights["embeddings.position_embeddings.weight"])
    kind = constant("kind", weights["embeddings.token_type_embeddings.weight"][0])
    length = apply("Slice", [apply("Shape", ["tokens"]), constant("one", np.array([1])), constant("two", np.array([2]))])
    places = apply("Slice", [positions, constant("zero", np.array([0])), length])
    x = norm(apply("Add", [apply("Add", [words, places]), kind]), "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        query, key, value = (
            apply("Reshape", [linear(x, f"{at}attention.self.{part}"), split]) for part in ("query", "key", "value")
        )
        query, value = (apply("Transpose", [part], perm=[0, 2, 1, 3]) for part in (query, value))
        scores = apply("MatMul", [apply("Mul", [query, scale]), apply("Transpose", [key], perm=[0, 2, 3, 1])])
        context = apply("MatMul", [apply("Softmax", [scores], axis=-1), value])
        context = apply("Reshape", [apply("Transpose", [context], perm=[0, 2, 1, 3]), joined])
        attended = apply("Add", [linear(context, at + "attention.output.dense"), x])
        x = norm(attended, at + "attention.output.LayerNorm")
        inner = apply("Gelu", [linear(x, at + "intermediate.dense")])
        x = norm(apply("Add", [linear(inner, at + "output.dense"), x]), at + "output.LayerNorm")
    mean = apply("ReduceMean", [x, constant("middle", np.array([1]))], keepdims=0)
    nodes.append(helper.make_node("LpNormalization", [mean], ["vectors"], axis=-1, p=2))
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "length"])
    vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", config["hidden_size"]])
    model = helper.make_graph(nodes, "bert", [tokens], [vectors], constants)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def anonymous():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


directory, texts, threads = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
texts = pathlib.Path(texts).read_text().split("\0")[:-1]
tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.no_truncation()
config = json.loads((directory / "config.json").read_text())
with tempfile.NamedTemporaryFile() as file:
    # In a process of its own, whose memory does not count.
    if os.fork() == 0:
        onnx.save(graph(load_file(directory / "model.safetensors"), config), file.name)
        os._exit(0)
    os.wait()
    before = anonymous()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])


def embed(part):
    tokens = np.array([encoded.ids for encoded in tokenizer.encode_batch(part)], np.int64)
    return session.run(None, {"tokens": tokens})[0]


first = embed(texts[:BATCH])[0]
began = time.monotonic()
for start in range(0, len(texts), BATCH):
    embed(texts[start : start + BATCH])
seconds = time.monotonic() - began
print(json.dumps([seconds, anonymous() - before, first.tolist()]))
