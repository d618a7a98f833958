"""Losses and their gradients in PyTorch, for crates/autodiff/tests/losses.rs.  Run:
python tests/reference/losses.py > crates/autodiff/tests/losses.json"""
import json
import sys

import torch
from torch.nn import functional as F

torch.manual_seed(3)


def case(name, inputs, loss, **attributes):
    first = inputs[0].clone().requires_grad_()
    value = loss(first, *inputs[1:])
    value.backward()
    return dict(
        name=name, attributes=attributes, loss=value.item(), gradient=first.grad.flatten().tolist(),
        inputs=[dict(shape=list(t.shape), integer=not t.is_floating_point(), values=t.flatten().tolist()) for t in inputs],
    )


logits, targets = torch.randn(5, 3) * 4, (torch.rand(5, 3) < 0.4).float()
numbers, truth = torch.randn(7, 1) * 2, torch.randn(7, 1)
tokens, tags = torch.randn(2, 4, 3) * 2, torch.tensor([[2, -100, 0, 1], [-100, -100, 1, -100]])


def of_tokens(smoothing):
    return lambda x, y: F.cross_entropy(x.flatten(0, 1), y.flatten(), label_smoothing=smoothing)


json.dump([
    case("SigmoidCrossEntropy", [logits, targets], F.binary_cross_entropy_with_logits),
    case("SigmoidCrossEntropy", [logits * 30, targets], F.binary_cross_entropy_with_logits),
    case("HuberLoss", [numbers, truth], F.mse_loss),
    case("HuberLoss", [numbers, truth], lambda x, y: F.huber_loss(x, y, delta=0.75), delta=0.75),
    case("SoftmaxCrossEntropy", [tokens, tags], of_tokens(0.0), label_smoothing=0.0),
    case("SoftmaxCrossEntropy", [tokens, tags], of_tokens(0.1), label_smoothing=0.1),
], sys.stdout)
