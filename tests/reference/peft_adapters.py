"""Adapters of the real `peft` package, and ours in it.

usage: peft_adapters.py make MODEL FOLDER           an adapter with random values on MODEL, and the logits of its texts
       peft_adapters.py check MODEL ADAPTER FOLDER  loads ADAPTER, which refit wrote, and compares with FOLDER's logits

    python tests/reference/peft_adapters.py make crates/families/tests/data/tiny-electra \\
        crates/families/tests/data/peft-electra
    cargo test --workspace --test peft          # writes its export to target/tmp/peft-electra
    python tests/reference/peft_adapters.py check crates/families/tests/data/tiny-electra target/tmp/peft-electra \\
        crates/families/tests/data/peft-electra

refit's head is one linear layer, as that of transformers' token classifiers. Pooling goes before it in refit and
after it here, which is the same: the mean of linear functions is the linear function of the mean.

needs: torch, transformers, peft
"""

import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForTokenClassification

NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def base(model):
    torch.manual_seed(11)
    return AutoModelForTokenClassification.from_pretrained(model, num_labels=3, ignore_mismatched_sizes=True).eval()


def logits(model, inputs):
    with torch.no_grad():
        tokens = model(**inputs).logits
    keep = inputs["attention_mask"][..., None].float()
    return {"mean": ((tokens * keep).sum(1) / keep.sum(1)).tolist(), "cls": tokens[:, 0].tolist()}


def inputs_of(source):
    expected = json.loads((source / "expected.json").read_text())
    return {name: torch.tensor(expected[name]) for name in NAMES if name in expected}


def main(command, model, *folders):
    model, *folders = map(pathlib.Path, (model, *folders))
    inputs = inputs_of(model)
    if command == "make":
        config = LoraConfig(task_type="TOKEN_CLS", r=2, lora_alpha=6, lora_dropout=0.1, target_modules=["query", "dense"],
                            exclude_modules=["embeddings_project"], modules_to_save=["classifier"])
        adapted = get_peft_model(base(model), config).eval()
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.copy_(torch.randn_like(parameter) * 0.3)
        adapted.save_pretrained(folders[0])
        (folders[0] / "README.md").unlink(missing_ok=True)
        (folders[0] / "expected.json").write_text(json.dumps(logits(adapted, inputs)))
    else:
        adapter, reference = folders
        found = logits(PeftModel.from_pretrained(base(model), adapter).eval(), inputs)
        expected = json.loads((reference / "expected.json").read_text())
        for pool, rows in expected.items():
            difference = (torch.tensor(rows) - torch.tensor(found[pool])).abs().max().item()
            print(f"{pool}: largest difference {difference:.2e}")
            assert difference < 1e-5


if __name__ == "__main__":
    main(*sys.argv[1:])
