"""Makes minilm.json: reference vectors of all-MiniLM-L6-v2, computed in 64-bit numpy from the
weights alone, with the tokenizer written in Python (not the one used by the tests).

    pip install numpy safetensors 'transformers<5'
    python minilm.py <directory of all-MiniLM-L6-v2> > minilm.json
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from transformers import BertTokenizer

TEXTS = [
    "",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "東京は日本の首都です。人口は約1400万人。",
    "I ❤️ PostgreSQL 🐘🚀 and 👩‍👩‍👧 too",
    "[CLS] is not [SEP] a token [MASK] here [PAD] or [UNK] there",
    "zero\u200bwidth\u200djoiner, soft\u00adhyphen, bell\u0007, \u0001control\u001f, mark\ufeff",
    "Ünïcödé naïve café — ÉCOLE, ﬁne ligature, Straße, İstanbul",
    "   \t\n  \u00a0 \u3000 ",
    "x" * 150 + " after a very long word",
    "مرحبا بالعالم नमस्ते दुनिया Привет, мир",
    "SELECT count(*) FROM t WHERE a->>'b' = $1; -- 100 %",
    "# Title\n\n- one\n- two\n\n```rust\nfn main() {}\n```\n",
    " ".join(f"word{i % 7} number {i}" if i % 5 else "the elephant remembers" for i in range(334)),
]


def erf(x):
    return np.vectorize(math.erf)(x)


def norm(x, weight, bias, epsilon):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weight + bias


def forward(weights, config, ids):
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items() if tensor.dtype.kind == "f"}
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    linear = lambda x, name: x @ w[name + ".weight"].T + w[name + ".bias"]
    normed = lambda x, name: norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = normed(x, "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        split = lambda y: y.reshape(len(ids), heads, -1).transpose(1, 0, 2)
        query, key, value = (split(linear(x, name + "attention.self." + part)) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = normed(linear(mixed, name + "attention.output.dense") + x, name + "attention.output.LayerNorm")
        wide = linear(x, name + "intermediate.dense")
        wide = 0.5 * wide * (1 + erf(wide / math.sqrt(2)))
        x = normed(linear(wide, name + "output.dense") + x, name + "output.LayerNorm")
    return x


def main(directory):
    config = json.loads((directory / "config.json").read_text())
    longest = json.loads((directory / "sentence_bert_config.json").read_text())["max_seq_length"]
    weights = load_file(directory / "model.safetensors")
    tokenizer = BertTokenizer(str(directory / "vocab.txt"), do_lower_case=True)
    cases = []
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        vector = forward(weights, config, ids).mean(0)
        vector /= np.linalg.norm(vector)
        cases.append({"text": text, "tokens": len(ids), "vector": [round(v, 7) for v in vector.tolist()]})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


main(Path(sys.argv[1]))
