"""Writes the standard's own node tests in the layout of older `onnx` packages (newer ones carry the code
that makes them, not the files):

    python tests/reference/onnx_nodes.py <folder>

gives <folder>/<case>/model.onnx and <folder>/<case>/test_data_set_<n>/{input,output}_<n>.pb, and
<folder>/versions.txt: on each line an operator and the operator sets in which it was defined anew.
"""

import sys
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import node

folder = Path(sys.argv[1])
cases = node.collect_testcases()
for case in cases:
    path = folder / case.name
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(case.model.SerializeToString())
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = path / f"test_data_set_{number}"
        data.mkdir(exist_ok=True)
        for kind, values in (("input", inputs), ("output", outputs)):
            for index, value in enumerate(values):
                if isinstance(value, (numpy.ndarray, numpy.generic)):
                    value = numpy_helper.from_array(numpy.asarray(value))
                if isinstance(value, TensorProto):  # sequences, maps and optionals have no tensors
                    (data / f"{kind}_{index}.pb").write_bytes(value.SerializeToString())
versions = {}
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "" and not schema.deprecated:
        versions.setdefault(schema.name, set()).add(schema.since_version)
lines = [" ".join(map(str, [name, *sorted(since)])) for name, since in sorted(versions.items())]
(folder / "versions.txt").write_text("\n".join(lines) + "\n")
print(len(cases), "cases")
