"""Weighted cross-entropy of PyTorch, for trainer/src/class_weights.rs.

    python tests/reference/class_weights.py > trainer/tests/data/class_weights.json
"""

import json

import torch

torch.manual_seed(0)
logits = torch.randn(4, 3)
labels = torch.tensor([0, 2, 1, 2])
weight = torch.tensor([0.5, 1.0, 2.0])
cases = []
for label_smoothing in (0.0, 0.1):
    leaf = logits.clone().requires_grad_()
    loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing)(leaf, labels)
    loss.backward()
    cases.append({
        "label_smoothing": label_smoothing,
        "loss": loss.item(),
        "gradient": leaf.grad.flatten().tolist(),
    })
print(json.dumps({
    "torch": torch.__version__,
    "logits": logits.flatten().tolist(),
    "labels": labels.tolist(),
    "weight": weight.tolist(),
    "cases": cases,
}))
