"""One training step of a network with random weights in PyTorch (sdpa, fused AdamW), the peer of
crates/autodiff/examples/step. Takes the same arguments and prints the same JSON.

    python torch_step.py minilm|bert-base|resnet18|depthwise <batch or channels> <sequence or size> <steps>
"""

import json
import os
import resource
import statistics
import sys
import time

import torch
from torch import nn

CLASSES = 4
DEPTHWISE_BATCH = 32


def bert(hidden, layers, batch, sequence):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30522, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12,
        intermediate_size=4 * hidden, num_labels=CLASSES, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config._attn_implementation = "sdpa"
    model = BertForSequenceClassification(config).train()
    ids = torch.randint(1000, 21000, (batch, sequence))
    mask = torch.ones(batch, sequence, dtype=torch.long)
    labels = torch.arange(batch) % CLASSES
    return model, lambda: model(input_ids=ids, attention_mask=mask, labels=labels).loss


class Block(nn.Module):
    def __init__(self, before, channels, stride):
        super().__init__()
        self.first = convolution(before, channels, 3, stride)
        self.second = convolution(channels, channels, 3, 1)
        keeps = before == channels and stride == 1
        self.shortcut = nn.Identity() if keeps else convolution(before, channels, 1, stride)

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def convolution(before, channels, kernel, stride):
    conv = nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def resnet18(batch, size):
    stages = [64, 128, 256, 512]
    blocks, before = [], 64
    for stage, channels in enumerate(stages):
        for block in range(2):
            blocks.append(Block(before, channels, 2 if block == 0 and stage > 0 else 1))
            before = channels
    model = nn.Sequential(
        convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES),
    ).train()
    image, labels = torch.rand(batch, 3, size, size) * 2 - 1, torch.arange(batch) % CLASSES
    return model, lambda: nn.functional.cross_entropy(model(image), labels)


def depthwise(channels, size):
    model = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    image = torch.rand(DEPTHWISE_BATCH, channels, size, size, requires_grad=True)
    return model, lambda: model(image)


torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", "2")))
torch.manual_seed(0)
network, (first, second, steps) = sys.argv[1], map(int, sys.argv[2:5])
model, run = {
    "minilm": lambda: bert(384, 6, first, second),
    "bert-base": lambda: bert(768, 12, first, second),
    "resnet18": lambda: resnet18(first, second),
    "depthwise": lambda: depthwise(first, second),
}[network]()
updates = network != "depthwise"
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)

rows, losses = [], []
for _ in range(steps):
    start = time.perf_counter()
    loss = run()
    forward = time.perf_counter()
    optimizer.zero_grad()
    loss.backward(None if updates else torch.ones_like(loss))
    backward = time.perf_counter()
    if updates:
        optimizer.step()
    end = time.perf_counter()
    rows.append((forward - start, backward - forward, end - backward, end - start))
    losses.append(loss.sum().item())

median = [round(statistics.median(column) * 1e3, 2) for column in zip(*rows[1 if steps > 2 else 0 :])]
print(json.dumps({
    "steps": steps, "median_ms": median[3],
    "forward_ms": median[0], "backward_ms": median[1], "optimizer_ms": median[2],
    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    "first_loss": losses[0], "last_loss": losses[-1],
}))
