"""What every peer serves: the tokenizer and the model that `refit serve` has, in ONNX Runtime.

The bench sets PEER_MODEL, PEER_TOKENIZER, PEER_MAX_LENGTH, PEER_PORT, and how the peer is tuned: PEER_WORKERS,
PEER_THREADS of each session, PEER_BATCH (most texts of a run) and PEER_DELAY_MS (how long a run waits for others).
"""

import os

import numpy
import onnxruntime
from tokenizers import Tokenizer


def setting(name):
    return os.environ[f"PEER_{name}"]


def number(name):
    return int(setting(name))


class Encoder:
    def __init__(self):
        self.tokenizer = Tokenizer.from_file(setting("TOKENIZER"))
        self.tokenizer.enable_truncation(number("MAX_LENGTH"))
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = number("THREADS")
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(setting("MODEL"), options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self.session.get_inputs()]

    def logits(self, texts):
        """Logits of each text, as one float32 array."""
        encoded = self.tokenizer.encode_batch_fast(texts)
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        feed = {
            name: numpy.array([getattr(encoding, columns[name]) for encoding in encoded], dtype=numpy.int64)
            for name in self.inputs
        }
        return self.session.run(["logits"], feed)[0]
