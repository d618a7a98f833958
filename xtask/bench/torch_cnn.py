"""Trains a small residual network on fashion-mnist and exports it, for int8 beside float32.

    python torch_cnn.py <folder>

Writes cnn.onnx (image [batch, 1, 28, 28] to logits), images as raw float32 to find ranges on (calibration.f32) and to
be judged by (test.f32), and the labels of the latter as bytes (labels.u8).
"""

import gzip
import sys
from pathlib import Path

import numpy
import torch
from torch import nn

SOURCE = Path("/usr/share/datasets/fashion-mnist")
TRAINED, CALIBRATED, TESTED, EPOCHS = 12_000, 256, 1_000, 1


def read(name, skip):
    path = SOURCE / f"{name}.gz"
    if not path.is_file():
        sys.exit(f"{path} is missing: install the package dataset-fashion-mnist")
    return numpy.frombuffer(gzip.open(path).read(), dtype=numpy.uint8, offset=skip)


def images(part):
    pixels = read(f"{part}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
    return (pixels.astype(numpy.float32) / 255 - 0.286) / 0.353, read(f"{part}-labels-idx1-ubyte", 8)


def convolution(channels, out, stride):
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out))


class Block(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.first, self.second = convolution(channels, out, stride), convolution(out, out, 1)
        self.shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def network():
    return nn.Sequential(
        convolution(1, 32, 1), nn.ReLU(), Block(32, 32, 1), Block(32, 32, 1), Block(32, 64, 2), Block(64, 64, 1),
        Block(64, 128, 2), Block(128, 128, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )


def train(model, inputs, labels):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    batches = EPOCHS * (len(inputs) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=batches)
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs))
        for rows in order[:len(inputs) // 64 * 64].split(64):
            loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main(folder):
    torch.manual_seed(7)
    pixels, labels = images("train")
    model = network()
    train(model, torch.from_numpy(pixels[:TRAINED]), torch.from_numpy(labels[:TRAINED].astype(numpy.int64)))
    model.eval()
    tested, answers = (part[:TESTED] for part in images("t10k"))
    with torch.no_grad():
        right = (model(torch.from_numpy(tested)).argmax(1).numpy() == answers).mean()
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model, (torch.from_numpy(tested[:2]),), folder / "cnn.onnx", input_names=["image"], output_names=["logits"],
        dynamic_shapes=({0: batch},), opset_version=18, external_data=False, verbose=False,
    )
    pixels[TRAINED:TRAINED + CALIBRATED].tofile(folder / "calibration.f32")
    tested.tofile(folder / "test.f32")
    answers.tofile(folder / "labels.u8")
    print(f"accuracy {right:.4f} of {TESTED}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
