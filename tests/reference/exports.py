"""The small ELECTRA of families.py as ONNX files, as different exporters write them.

usage: exports.py MODEL FOLDER      (crates/families/tests/data/tiny-electra tests/tests/data/exports)

needs: torch, transformers, onnx, onnxscript
"""

import json
import pathlib
import sys

import onnx
import torch
from onnx import TensorProto, helper
from transformers import AutoModel, AutoModelForSequenceClassification

NAMES = ["input_ids", "attention_mask", "token_type_ids"]
AXES = {name: {0: "batch_size", 1: "sequence_length"} for name in NAMES}


class Wrapped(torch.nn.Module):
    """Positional inputs and plain outputs."""

    def __init__(self, model, output):
        super().__init__()
        self.model, self.output = model, output

    def forward(self, input_ids, attention_mask, token_type_ids):
        given = dict(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return getattr(self.model(**given), self.output)


def as_tf2onnx(source, target):
    """What tf2onnx makes of a Keras model: int32 inputs whose names end in :0, unnamed axes, `Identity:0`.

    TensorFlow itself is not run here; the graph between is PyTorch's.
    """
    model = onnx.load(source)
    graph = model.graph
    for index, info in enumerate(graph.input):
        name = info.name
        info.name = f"{name}:0"
        info.type.tensor_type.elem_type = TensorProto.INT32
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            dim.dim_param = f"unk__{2 * index + axis}"
        cast = helper.make_node("Cast", [info.name], [name], name=f"{name}__cast", to=TensorProto.INT64)
        graph.node.insert(0, cast)
    last = graph.output[0].name
    graph.node.append(helper.make_node("Identity", [last], ["Identity:0"], name="Identity"))
    graph.output[0].name = "Identity:0"
    for axis, dim in enumerate(graph.output[0].type.tensor_type.shape.dim):
        if not dim.HasField("dim_value"):
            dim.dim_param = f"unk__{90 + axis}"
    model.producer_name = "tf2onnx"
    onnx.checker.check_model(model)
    onnx.save(model, target)


def main(source, folder):
    folder.mkdir(parents=True, exist_ok=True)
    expected = json.loads((source / "expected.json").read_text())
    inputs = tuple(torch.tensor(expected[name]) for name in NAMES)
    encoder = AutoModel.from_pretrained(source, attn_implementation="eager").eval()
    torch.manual_seed(3)
    classifier = AutoModelForSequenceClassification.from_pretrained(source, attn_implementation="eager").eval()

    def scripted(model, output, file, opset, axes, names):
        torch.onnx.export(Wrapped(model, output), inputs, folder / file, dynamo=False, opset_version=opset,
                          input_names=NAMES, output_names=names, dynamic_axes=axes)

    hidden = {"last_hidden_state": AXES["input_ids"]}
    # As Optimum names things.
    scripted(encoder, "last_hidden_state", "optimum.onnx", 14, {**AXES, **hidden}, ["last_hidden_state"])
    # Every axis fixed, names as they come, the oldest opset.
    scripted(encoder, "last_hidden_state", "fixed-opset11.onnx", 11, None, None)
    scripted(classifier, "logits", "classifier.onnx", 17, {**AXES, "logits": {0: "batch_size"}}, ["logits"])
    as_tf2onnx(folder / "optimum.onnx", folder / "tf2onnx.onnx")

    batch, sequence = torch.export.Dim("batch", max=64), torch.export.Dim("sequence", min=2, max=20)
    shapes = tuple({0: batch, 1: sequence} for _ in NAMES)
    for file, external, opset in [("dynamo.onnx", False, 18), ("dynamo-external.onnx", True, 20)]:
        program = torch.onnx.export(Wrapped(encoder, "last_hidden_state"), inputs, dynamo=True, opset_version=opset,
                                    dynamic_shapes=shapes, input_names=NAMES)
        # What the exporter notes of PyTorch's stack at every node is most of so small a file.
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()
        program.save(folder / file, external_data=external)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
