"""What PyTorch does in some steps of training a small perceptron: AdamW with a rate for each layer, decay on
matrices only, clipping, a warm-up and a moving average of the weights; label smoothing; mixup.
Run:  python tests/reference/optimizer.py > trainer/tests/data/optimizer.json"""
import json

import torch
from torch.optim.swa_utils import AveragedModel

STEPS, RATE, LAYER_DECAY, WEIGHT_DECAY, CLIP, KEPT = 24, 3e-2, 0.7, 0.05, 0.25, 0.9


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = torch.nn.Linear(5, 6)
        self.layer = torch.nn.ModuleList([torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)])
        self.classifier = torch.nn.Linear(6, 3)

    def embed(self, x):
        x = torch.tanh(self.embeddings(x))
        for layer in self.layer:
            x = torch.tanh(layer(x))
        return x


def depth(name):
    if name.startswith("classifier"):
        return 3
    return int(name.split(".")[1]) + 1 if name.startswith("layer") else 0


def numbers(tensor):
    return tensor.detach().flatten().tolist()


def loss_of(network, x, y, smoothing, mix):
    embedded = network.embed(x)
    if mix is None:
        return torch.nn.functional.cross_entropy(network.classifier(embedded), y, label_smoothing=smoothing)
    weight, partner = mix
    logits = network.classifier(weight * embedded + (1 - weight) * embedded[partner])
    own = torch.nn.functional.cross_entropy(logits, y, label_smoothing=smoothing)
    other = torch.nn.functional.cross_entropy(logits, y[partner], label_smoothing=smoothing)
    return weight * own + (1 - weight) * other


def main():
    torch.manual_seed(11)
    network = Network()
    start = {name: numbers(p) for name, p in network.named_parameters()}
    groups = [
        dict(params=[p], lr=0.0, weight_decay=WEIGHT_DECAY if p.dim() >= 2 else 0.0, share=LAYER_DECAY ** (3 - depth(n)))
        for n, p in network.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, foreach=True)
    rule = lambda kept, new, n: kept + (1 - min(KEPT, (1.0 + n) / (10.0 + n))) * (new - kept)
    average = AveragedModel(network, avg_fn=rule)
    batches, losses, norms = [], [], []
    for step in range(STEPS):
        x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
        # Every third step blends.
        mix = (torch.rand(()).item(), torch.randperm(8)) if step % 3 == 2 else None
        optimizer.zero_grad()
        loss = loss_of(network, x, y, 0.1, mix)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP).item())
        rate = RATE * min(1.0, (step + 1) / 6)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        weight, partner = (mix[0], mix[1].tolist()) if mix else (1.0, list(range(8)))
        batches.append(dict(x=numbers(x), y=y.tolist(), weight=weight, partner=partner, rate=rate))
    print(
        json.dumps(
            dict(
                torch=torch.__version__,
                settings=dict(layer_decay=LAYER_DECAY, weight_decay=WEIGHT_DECAY, clip=CLIP, kept=KEPT, smoothing=0.1),
                shapes={name: list(p.shape) for name, p in network.named_parameters()},
                start=start,
                batches=batches,
                losses=losses,
                norms=norms,
                weights={name: numbers(p) for name, p in network.named_parameters()},
                average={name: numbers(p) for name, p in average.module.named_parameters()},
            )
        )
    )


main()
