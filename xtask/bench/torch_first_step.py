"""Seconds from the start of the process to the end of the first training step with pandas, transformers and
PyTorch, the peer of trainer/examples/first_step. Takes the same arguments and prints the same JSON.

    python torch_first_step.py <file with text and label> <folder of the base> <seconds since 1970 at the start>
"""

import json
import resource
import sys
import time

import pandas
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

rows, base, started = sys.argv[1], sys.argv[2], float(sys.argv[3])
torch.set_num_threads(2)
torch.manual_seed(7)

frame = pandas.read_csv(rows).dropna(subset=["text", "label"]).drop_duplicates("text")
frame = frame.sample(frac=1.0, random_state=7)
labels = sorted(frame["label"].unique())
held_out = len(frame) // 5
tokenizer = AutoTokenizer.from_pretrained(base)


def encode(part):
    tokens = tokenizer(part["text"].tolist(), truncation=True, max_length=128)["input_ids"]
    return tokens, [labels.index(label) for label in part["label"]]


test, train = encode(frame[:held_out]), encode(frame[held_out:])
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels)).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)

order = sorted(range(1600), key=lambda row: len(train[0][row]))[:32]
batch = tokenizer.pad({"input_ids": [train[0][row] for row in order]}, return_tensors="pt")
loss = model(**batch, labels=torch.tensor([train[1][row] for row in order])).loss
loss.backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
loss.item()
print(json.dumps({
    "seconds": time.time() - started,
    "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
