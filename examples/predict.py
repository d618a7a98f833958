"""An exported classifier without refit: python examples/predict.py ARTIFACT_FOLDER "a text"

Needs `onnxruntime`, `tokenizers` and numpy."""
import json, sys
import numpy as np, onnxruntime, tokenizers

folder, text = sys.argv[1:]
served = json.load(open(f"{folder}/manifest.json"))["serving"]["file"]
session = onnxruntime.InferenceSession(f"{folder}/{served}")
meta = session.get_modelmeta().custom_metadata_map
tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(int(meta["refit.max_length"]))
tokens = tokenizer.encode(text)
inputs = {"input_ids": tokens.ids, "attention_mask": tokens.attention_mask, "token_type_ids": tokens.type_ids}
feed = {port.name: np.array([inputs[port.name]], np.int64) for port in session.get_inputs()}
logits = session.run([meta["refit.output"]], feed)[0][0]
print(json.loads(meta["refit.labels"])[int(logits.argmax())], logits.tolist())
