"""Small files that torch.save writes, what torch reads in them, and malicious ones.

usage: checkpoints.py FOLDER     (crates/families/tests/data/checkpoints)

needs: torch, safetensors; beside FOLDER the small models of families.py
"""

import json
import os
import pathlib
import pickle
import sys

import torch
from safetensors.torch import load_file, save_file


class Evil:
    """Runs a command when a pickle of it is loaded by Python."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    plain = torch.randn(3, 4)
    tensors = {
        "plain": plain,
        "transposed": plain.t(),
        "steps": plain[1:, ::2],
        "row": plain[2],
        "half": torch.randn(5).half(),
        "brain": torch.randn(2, 3).bfloat16(),
        "double": torch.randn(4).double(),
        "long": torch.tensor([[1, -2], [3, 1 << 40]]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    }
    torch.save(tensors, folder / "zip.bin")
    torch.save(tensors, folder / "old.pth", _use_new_zipfile_serialization=False)
    nested = {"epoch": 3, "lr": 0.1, "best": None, "state_dict": {"plain": plain}, "names": ["a", ("b", 1)]}
    torch.save(nested, folder / "nested.pth")
    expected = {
        name: {"shape": list(tensor.shape), "values": tensor.detach().double().flatten().tolist()}
        for name, tensor in tensors.items()
    }
    (folder / "expected.json").write_text(json.dumps(expected))

    model = load_file(folder.parent / "tiny-distilbert" / "model.safetensors")
    torch.save(model, folder / "distilbert.bin")
    torch.save(model, folder / "distilbert-old.bin", _use_new_zipfile_serialization=False)
    halves = sorted(model)[: len(model) // 2], sorted(model)[len(model) // 2 :]
    shards = folder / "sharded"
    shards.mkdir(exist_ok=True)
    for kind, save, ending in [("model", save_file, "safetensors"), ("pytorch_model", torch.save, "bin")]:
        weight_map = {}
        for index, names in enumerate(halves, 1):
            file = f"{kind}-{index:05}-of-00002.{ending}"
            save({name: model[name] for name in names}, shards / file)
            weight_map.update({name: file for name in names})
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (shards / f"{kind}.{ending}.index.json").write_text(json.dumps(index))

    command = "touch /tmp/refit-was-tricked"
    evils = {
        "system": Evil(os.system, command),
        "eval": Evil(eval, f"__import__('os').system('{command}')"),
        "getattr": Evil(getattr, "os", "system"),
    }
    for name, evil in evils.items():
        torch.save({"plain": plain, "hidden": evil}, folder / f"evil-{name}.bin")
        old = folder / f"evil-{name}-old.bin"
        torch.save({"plain": plain, "hidden": evil}, old, _use_new_zipfile_serialization=False)
        (folder / f"evil-{name}.pkl").write_bytes(pickle.dumps({"plain": evil}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
