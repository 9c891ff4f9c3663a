"""Makes families.json: reference vectors of tiny encoders with made-up weights, one for each
family, computed by Hugging Face's own implementation in TensorFlow.

    pip install 'transformers==4.46.3' 'tensorflow-cpu==2.18.1' 'tf-keras==2.18.0'
    python families.py > families.json

The weights follow from their names (`made_up`), here as in the tests.
"""

import json
import math

import numpy as np
import tensorflow as tf
from transformers import (
    BertConfig,
    DistilBertConfig,
    MPNetConfig,
    RobertaConfig,
    TFBertModel,
    TFDistilBertModel,
    TFMPNetModel,
    TFRobertaModel,
)

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
COMMON = {"vocab_size": 50, "max_position_embeddings": 210, "layer_norm_eps": 1e-5}
DISTILLED = {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40, "vocab_size": 50, "max_position_embeddings": 210}
FAMILIES = {
    "bert": (BertConfig, TFBertModel, SIZES | COMMON | {"hidden_act": "gelu"}),
    "bert-tanh": (BertConfig, TFBertModel, SIZES | COMMON | {"hidden_act": "gelu_new"}),
    "roberta": (RobertaConfig, TFRobertaModel, SIZES | COMMON | {"type_vocab_size": 1, "pad_token_id": 1}),
    "distilbert": (DistilBertConfig, TFDistilBertModel, DISTILLED),
    "mpnet": (MPNetConfig, TFMPNetModel, SIZES | COMMON | {"pad_token_id": 1}),
}
# Token numbers: 0 begins a text, 2 ends it, 1 is padding, and it may stand in a text literally.
TEXTS = [
    [0, 2],
    [0, 7, 11, 2],
    [0, 5, 1, 9, 30, 2],
    [0] + [3 + (i * i + 3 * i) % 46 for i in range(70)] + [2],
    [0] + [3 + (i * 7 + i // 5) % 46 for i in range(198)] + [2],
]


def made_up(name, shape):
    start = sum(name.encode()) % 97
    wave = np.array([math.sin(start + 0.7 * i + 0.013 * i * i) for i in range(int(np.prod(shape)))])
    norm = name.endswith("LayerNorm.weight") or name.endswith("layer_norm.weight")
    return ((1 + 0.1 * wave) if norm else 0.35 * wave).astype(np.float32).reshape(shape)


def checkpoint_name(variable, family):
    """The name in a checkpoint, of the name in TensorFlow's model."""
    name = variable.split(":")[0].split("/", 2)[2].replace("/", ".").replace("layer_._", "layer.")
    for found, wanted in [
        ("gamma", "weight"),
        ("beta", "bias"),
        ("kernel", "weight"),
        ("embeddings.weight", "embeddings.weight"),
        ("relative_attention_bias.embeddings", "relative_attention_bias.weight"),
        ("word_embeddings.embeddings", "word_embeddings.weight"),
        ("position_embeddings.embeddings", "position_embeddings.weight"),
        ("token_type_embeddings.embeddings", "token_type_embeddings.weight"),
    ]:
        if name.endswith(found):
            name = name[: -len(found)] + wanted
    if name == "embeddings.weight":
        name = "embeddings.word_embeddings.weight"
    return name


def main():
    result = {}
    for family, (configuration, model_class, sizes) in FAMILIES.items():
        config = configuration(**sizes)
        model = model_class(config)
        model(tf.constant([[0, 2]]))
        names = {}
        for variable in model.weights:
            name = checkpoint_name(variable.name, family)
            shape = tuple(variable.shape)
            if variable.name.split(":")[0].endswith("kernel"):
                variable.assign(made_up(name, shape[::-1]).T)
                shape = shape[::-1]
            else:
                variable.assign(made_up(name, shape))
            names[name] = list(shape)
        vectors = []
        for ids in TEXTS:
            tokens = model(tf.constant([ids]), attention_mask=tf.ones((1, len(ids)), dtype=tf.int32))[0].numpy()[0]
            vectors.append([round(float(v), 7) for v in tokens.astype(np.float64).mean(0)])
        settings = {"model_type": config.model_type} | sizes
        names = {name: shape for name, shape in names.items() if "pooler" not in name}
        result[family] = {"config": settings, "tensors": names, "vectors": vectors}
    print(json.dumps({"texts": TEXTS, "families": result}))


main()
