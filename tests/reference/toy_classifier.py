"""Writes the tiny text classifiers that the tests of the engines and the predictor run.

Embedding lookup, linear layer, tanh, mask-weighted mean, classifier: 12 token ids, hidden size 8, 2 labels. The expected
logits are computed here with numpy alone. Run from the repository's root; the results are committed:
    python tests/reference/toy_classifier.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT = Path("crates/engine/tests/data")
VOCABULARY, HIDDEN, LABELS = 12, 8, 2
random = np.random.default_rng(7)
EMBEDDING = random.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32)
TYPES = (0.1 * random.normal(size=(2, HIDDEN))).astype(np.float32)
DENSE = random.normal(size=(HIDDEN, HIDDEN)).astype(np.float32)
CLASSIFIER = random.normal(size=(HIDDEN, LABELS)).astype(np.float32)
BIAS = random.normal(size=(LABELS,)).astype(np.float32)


def dense_float32():
    return [helper.make_node("MatMul", ["x", "dense"], ["h"])], {"dense": DENSE}


def dense_int8():
    """A scale per row for the activations and per column for the weights. Not QuantizeLinear: tract wants its scale
    to be a constant."""
    scale = np.abs(DENSE).max(0) / 127
    constants = {
        "dense_q": np.clip(np.round(DENSE / scale), -127, 127).astype(np.int8),
        "dense_scale": scale.astype(np.float32),
        "zero": np.uint8(128),
        "shift": np.float32(128),
        "least": np.float32(1e-12),
        "inverse": np.float32(1 / 127),
    }
    node = helper.make_node
    nodes = [
        node("Abs", ["x"], ["x_abs"]),
        node("ReduceMax", ["x_abs"], ["x_max"], axes=[-1], keepdims=1),
        node("Max", ["x_max", "least"], ["x_max1"]),
        node("Mul", ["x_max1", "inverse"], ["row_scale"]),
        node("Div", ["x", "row_scale"], ["x_d"]),
        node("Round", ["x_d"], ["x_r"]),
        node("Add", ["x_r", "shift"], ["x_s"]),
        node("Cast", ["x_s"], ["x_q"], to=TensorProto.UINT8),
        node("MatMulInteger", ["x_q", "dense_q", "zero"], ["h_q"]),
        node("Cast", ["h_q"], ["h_f"], to=TensorProto.FLOAT),
        node("Mul", ["h_f", "row_scale"], ["h_r"]),
        node("Mul", ["h_r", "dense_scale"], ["h"]),
    ]
    return nodes, constants


def model(dense_nodes, constants):
    node = helper.make_node
    nodes = [
        node("Gather", ["embedding", "input_ids"], ["e"]),
        node("Gather", ["types", "token_type_ids"], ["t"]),
        node("Add", ["e", "t"], ["x"]),
        *dense_nodes,
        node("Tanh", ["h"], ["a"]),
        node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["m", "minus_one"], ["m3"]),
        node("Mul", ["a", "m3"], ["am"]),
        node("ReduceSum", ["am", "axis_one"], ["sum"], keepdims=0),
        node("ReduceSum", ["m3", "axis_one"], ["count"], keepdims=0),
        node("Div", ["sum", "count"], ["embedding_out"]),
        node("MatMul", ["embedding_out", "classifier"], ["z"]),
        node("Add", ["z", "bias"], ["logits"]),
        node("Identity", ["embedding_out"], ["embedding"]),
    ]
    # The output is called "embedding", so the table has another name.
    for entry in nodes:
        if entry.op_type == "Gather" and entry.input[0] == "embedding":
            entry.input[0] = "embedding_table"
    constants = {
        "embedding_table": EMBEDDING,
        "types": TYPES,
        "classifier": CLASSIFIER,
        "bias": BIAS,
        "minus_one": np.array([-1], np.int64),
        "axis_one": np.array([1], np.int64),
        **constants,
    }
    integers = lambda name: helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
    floats = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
    graph = helper.make_graph(
        nodes,
        "toy",
        [integers("input_ids"), integers("attention_mask"), integers("token_type_ids")],
        [floats("logits", LABELS), floats("embedding", HIDDEN)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="toy_classifier.py")
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def run(ids, int8):
    x = EMBEDDING[ids] + TYPES[0]
    if int8:
        scale = np.maximum(np.abs(x).max(1, keepdims=True), np.float32(1e-12)) * np.float32(1 / 127)
        column = (np.abs(DENSE).max(0) / 127).astype(np.float32)
        weights = np.clip(np.round(DENSE / column), -127, 127)
        h = (np.round(x / scale) @ weights).astype(np.float32) * scale * column
    else:
        h = x @ DENSE
    embedding = np.tanh(h).mean(0)
    return embedding @ CLASSIFIER + BIAS, embedding


def unsupported():
    """A model with an operator that no engine knows."""
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(
        [helper.make_node("Frobnicate", ["x"], ["y"], name="strange_node")], "g", [value("x")], [value("y")]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


OUT.mkdir(parents=True, exist_ok=True)
onnx.save(model(*dense_float32()), OUT / "toy.float32.onnx")
onnx.save(model(*dense_int8()), OUT / "toy.int8.onnx")
onnx.save(unsupported(), OUT / "unsupported.onnx")
cases = []
for ids in ([2, 5, 6, 3], [2, 3], [2, 4, 7, 8, 9, 10, 11, 1, 3]):
    case = {"input_ids": ids}
    for name, int8 in (("float32", False), ("int8", True)):
        logits, embedding = run(np.array(ids), int8)
        case[name] = {"logits": [float(v) for v in logits], "embedding": [float(v) for v in embedding]}
    cases.append(case)
(OUT / "toy.expected.json").write_text(json.dumps(cases, indent=1) + "\n")
