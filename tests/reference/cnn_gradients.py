"""Loss and every gradient of a small random convolutional classifier, by PyTorch: once with batch
normalization evaluating, where its running statistics are part of the model, and once with it training, with
the running statistics that two batches leave behind.

    python tests/reference/cnn_gradients.py

writes crates/autodiff/tests/cnn/reference.json.
"""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(11)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, stride=2, groups=2)
        self.group_norm = nn.GroupNorm(3, 12)
        self.prelu = nn.PReLU(12)
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, output_padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 3, stride=2, padding=1)
        x = F.hardswish(self.depthwise(x))
        x = self.prelu(self.group_norm(self.grouped(x)))
        x = F.avg_pool2d(F.elu(self.up(x)), 2, stride=1)
        return self.head(x.mean((2, 3)))


net = Net().eval()
with torch.no_grad():
    net.norm.running_mean.normal_(0, 0.3)
    net.norm.running_var.uniform_(0.5, 1.5)
    for tensor in [*net.parameters(), *net.buffers()]:
        if tensor.is_floating_point():
            if tensor.dim() == 1 and tensor is not net.norm.running_mean and tensor is not net.norm.running_var:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            tensor.copy_(torch.tensor([float(f"{x:.6g}") for x in tensor.flatten()]).reshape(tensor.shape))
x = torch.tensor([float(f"{v:.5g}") for v in torch.randn(3 * 3 * 27 * 25)]).reshape(3, 3, 27, 25)
labels = torch.tensor([2, 0, 3])
loss = F.cross_entropy(net(x), labels)
loss.backward()


train = Net().train()
train.load_state_dict(net.state_dict())
train_loss = F.cross_entropy(train(x), labels)
train_loss.backward()
train(x * 0.5)  # a second batch, for the running statistics alone


def numbers(tensor):
    return [float(f"{v:.7g}") for v in tensor.detach().flatten()]


named = {name: tensor for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
reference = {
    "x": numbers(x),
    "x_shape": list(x.shape),
    "labels": labels.tolist(),
    "loss": loss.item(),
    "shapes": {name: list(tensor.shape) for name, tensor in named.items()},
    "parameters": {name: numbers(tensor) for name, tensor in named.items()},
    "gradients": {name: numbers(p.grad) for name, p in net.named_parameters()},
    "train": {
        "loss": train_loss.item(),
        "gradients": {name: numbers(p.grad) for name, p in train.named_parameters()},
        "running_mean": numbers(train.norm.running_mean),
        "running_var": numbers(train.norm.running_var),
    },
}
target = Path(__file__).parents[2] / "crates/autodiff/tests/cnn/reference.json"
target.write_text(json.dumps(reference))
print(target, loss.item())
