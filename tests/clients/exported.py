"""Every file of artifacts as others see it: `onnx.checker` with full checks, and `onnxruntime` from PyPI.

usage: exported.py ARTIFACT_FOLDER...

Needs `onnx`, `onnxruntime` and numpy. Prints one line for each file, and fails at the first that is not accepted.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

METADATA = ["version", "model", "base", "task", "output", "labels", "preprocessing", "max_length"]


def answer(path, output, length):
    session = onnxruntime.InferenceSession(path)
    tokens = np.arange(1, length + 1, dtype=np.int64)[None]
    values = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
    feed = {port.name: values[port.name] for port in session.get_inputs()}
    return session.run([output], feed)[0]


def main(folders):
    for folder in map(pathlib.Path, folders):
        files = sorted(folder.glob("*.onnx"))
        exact = None
        for path in sorted(files, key=lambda path: path.name != "model.float32.onnx"):
            onnx.checker.check_model(str(path), full_check=True)
            model = onnx.load(path)
            meta = {entry.key: entry.value for entry in model.metadata_props}
            missing = [name for name in METADATA if f"refit.{name}" not in meta]
            if missing:
                sys.exit(f"FAILED: {path} lacks the metadata {missing}")
            json.loads(meta["refit.labels"]), json.loads(meta["refit.preprocessing"])
            found = answer(str(path), meta["refit.output"], 12)
            exact = found if exact is None else exact
            if found.shape != exact.shape or not np.isfinite(found).all():
                sys.exit(f"FAILED: {path} answers {found}")
            domains = sorted({opset.domain or "ai.onnx" for opset in model.opset_import})
            difference = float(np.abs(found - exact).max())
            print(f"ok: {path.name}, {path.stat().st_size} bytes, {domains}, {difference:.2e} from float32")


main(sys.argv[1:])
