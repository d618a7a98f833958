"""Reference numbers for crates/stats/src/clipping.rs: ranges by ONNX Runtime's own calibrators, and by trying all
ranges for the squared error. Run:  python tests/reference/calibration.py > crates/stats/tests/clipping.json"""
import contextlib
import json
import os
import sys

import numpy as np
from onnxruntime.quantization.calibrate import HistogramCollector

BINS = 2048
PERCENTILE = 99.99


def samples():
    """Activations as networks have them, their number no multiple of what a percentile leaves out; a formula that Rust repeats, so that the values need not be stored."""
    i = np.arange(20011, dtype=np.float64)
    u = np.mod(i * 0.6180339887498949, 1.0)
    v = np.mod(i * 0.7548776662466927, 1.0)
    normal = np.sqrt(-2 * np.log(1 - u * 0.999999)) * np.cos(2 * np.pi * v)
    heavy = np.sign(normal) * np.abs(normal) ** 3
    return {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "heavy": heavy,
        "shifted": normal * 0.5 + 3,
        "outlier": np.where(i == 777, 60.0, normal),
    }


def collector(method):
    return HistogramCollector(method, False, BINS, 128, PERCENTILE, "same")


def least_squares(values):
    least, greatest = min(values.min(), 0), max(values.max(), 0)
    best = None
    for part in range(100, 0, -1):
        low, high = least * part / 100, greatest * part / 100
        step = (high - low) / 255
        rounded = np.round((np.clip(values, low, high) - low) / step) * step + low
        error = float(((values - rounded) ** 2).sum())
        if best is None or error < best[0]:
            best = (error, low, high)
    return best


def main():
    out = []
    for name, values in samples().items():
        values = values.astype(np.float32)
        row = dict(name=name)
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            for method in ("percentile", "entropy"):
                tool = collector(method)
                tool.collect({"x": values})
                low, high = tool.compute_collection_result()["x"][:2]
                row[method] = [float(low), float(high)]
        error, low, high = least_squares(values.astype(np.float64))
        row["mse"] = [max(low, float(values.min())), min(high, float(values.max()))]
        row["mse_error"] = error
        row["min_max"] = [float(values.min()), float(values.max())]
        out.append(row)
    json.dump(out, sys.stdout, indent=1)


main()
