"""One full fine-tuning step of MiniLM's architecture in PyTorch (sdpa, fused AdamW), the peer of
crates/autodiff/examples/step.rs. Prints the same JSON.

    python torch_step.py <batch> <sequence> <steps>
"""

import json
import os
import resource
import statistics
import sys
import time

import torch
from transformers import BertConfig, BertForSequenceClassification

torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", "2")))
torch.manual_seed(0)
batch, sequence, steps = map(int, sys.argv[1:4])
config = BertConfig(
    vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
    intermediate_size=1536, num_labels=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)
config._attn_implementation = "sdpa"
model = BertForSequenceClassification(config).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
ids = torch.randint(1000, 21000, (batch, sequence))
mask = torch.ones(batch, sequence, dtype=torch.long)
labels = torch.arange(batch) % 4

rows, losses = [], []
for _ in range(steps):
    start = time.perf_counter()
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    forward = time.perf_counter()
    optimizer.zero_grad()
    loss.backward()
    backward = time.perf_counter()
    optimizer.step()
    end = time.perf_counter()
    rows.append((forward - start, backward - forward, end - backward, end - start))
    losses.append(loss.item())

median = [round(statistics.median(column) * 1e3, 1) for column in zip(*rows[1 if steps > 2 else 0 :])]
print(json.dumps({
    "batch": batch, "sequence": sequence, "steps": steps, "median_ms": median[3],
    "forward_ms": median[0], "backward_ms": median[1], "optimizer_ms": median[2],
    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    "first_loss": losses[0], "last_loss": losses[-1],
}))
