"""Reference numbers for the metrics of crates/stats that belong to tasks: seqeval, scikit-learn, scipy, and the
evaluation script of SQuAD 1.1 (its functions, written out).  Run:
python tests/reference/task_metrics.py > crates/stats/tests/task_metrics.json"""
import collections
import json
import random
import re
import string
import sys
import warnings

import numpy as np
from scipy import stats
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from sklearn import metrics

warnings.filterwarnings("ignore")
draw = random.Random(5)
rng = np.random.default_rng(5)


def entities():
    tags = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-LOC", "S-PER"]
    cases = []
    for size in [1, 2, 5, 9, 14]:
        for _ in range(4):
            truth = [draw.choice(tags) for _ in range(size)]
            given = [tag if draw.random() < 0.7 else draw.choice(tags) for tag in truth]
            cases.append(dict(
                truth=truth, predicted=given,
                spans=[[kind, start, end + 1] for kind, start, end in get_entities(truth)],
                precision=float(precision_score([truth], [given])),
                recall=float(recall_score([truth], [given])),
                f1=float(f1_score([truth], [given])),
            ))
    return cases


def regression():
    cases = []
    for size, round_to in [(5, 2), (30, 0), (200, 1)]:
        truth = rng.normal(3, 2, size).round(round_to)
        given = (truth + rng.normal(0, 1.5, size)).round(round_to)
        cases.append(dict(
            truth=truth.tolist(), predicted=given.tolist(), pearson=float(stats.pearsonr(truth, given)[0]),
            spearman=float(stats.spearmanr(truth, given)[0]), r2=float(metrics.r2_score(truth, given)),
            mae=float(metrics.mean_absolute_error(truth, given)),
            rmse=float(metrics.root_mean_squared_error(truth, given)),
        ))
    return cases


def multi_label():
    cases = []
    for rows, labels in [(6, 3), (40, 5)]:
        truth = rng.random((rows, labels)) < 0.3
        scores = (truth * 0.3 + rng.random((rows, labels))).round(1)
        given = scores > 0.6
        cases.append(dict(
            truth=truth.tolist(), scores=scores.tolist(), predicted=given.tolist(),
            f1_micro=float(metrics.f1_score(truth, given, average="micro", zero_division=0)),
            f1_macro=float(metrics.f1_score(truth, given, average="macro", zero_division=0)),
            average_precision=[
                float(metrics.average_precision_score(truth[:, c], scores[:, c])) if truth[:, c].any() else None
                for c in range(labels)
            ],
        ))
    return cases


def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(given, right):
    given, right = normalize(given).split(), normalize(right).split()
    same = sum((collections.Counter(given) & collections.Counter(right)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(given), same / len(right)
    return 2 * precision * recall / (precision + recall)


def answers():
    cases = [
        ("the Eiffel Tower", ["Eiffel Tower", "tower"]), ("Paris, France", ["paris"]), ("in 1889", ["1889."]),
        ("a b b c", ["b b d"]), ("", ["nothing"]), ("U.S.", ["us", "the United States"]), ("Over the moon", ["moon over"]),
    ]
    return [dict(answer=answer, right=right, exact=float(max(normalize(answer) == normalize(r) for r in right)),
                 f1=max(squad_f1(answer, r) for r in right)) for answer, right in cases]


json.dump(dict(entities=entities(), regression=regression(), multi_label=multi_label(), answers=answers()), sys.stdout)
