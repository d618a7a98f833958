"""Loss, logits and every gradient of a small random BERT classifier, by PyTorch.

    python tests/reference/bert_gradients.py

writes crates/autodiff/tests/bert/reference.json.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

SIZES = dict(
    vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=12, num_labels=3,
)
torch.manual_seed(7)
config = BertConfig(
    **SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12, initializer_range=0.3
)
config._attn_implementation = "eager"
model = BertForSequenceClassification(config).train()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:  # biases are born as zeros and norms as ones: both would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.1)
        parameter.copy_(torch.tensor([float(f"{x:.6g}") for x in parameter.flatten()]).reshape(parameter.shape))

lengths = [7, 4, 1]
# 0 is the padding token, whose embedding PyTorch does not train.
ids = torch.randint(1, SIZES["vocab_size"], (3, 7))
mask = (torch.arange(7)[None, :] < torch.tensor(lengths)[:, None]).long()
types = (torch.arange(7)[None, :] >= 3).long().expand(3, 7)
labels = torch.tensor([2, 0, 1])
output = model(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels)
output.loss.backward()


def numbers(tensor):
    return [float(f"{x:.6g}") for x in tensor.detach().flatten().tolist()]


reference = {
    "config": SIZES,
    "input_ids": ids.tolist(), "attention_mask": mask.tolist(), "token_type_ids": types.tolist(),
    "labels": labels.tolist(), "loss": output.loss.item(), "logits": output.logits.tolist(),
    "parameters": {name: numbers(p) for name, p in model.named_parameters()},
    "gradients": {name: numbers(p.grad) for name, p in model.named_parameters()},
}
path = Path(__file__).resolve().parents[2] / "crates/autodiff/tests/bert/reference.json"
path.write_text(json.dumps(reference, separators=(",", ":")))
print(path, path.stat().st_size, "bytes, loss", reference["loss"])
