use crate::metric::Metric;
use crate::problem::Problem;
use crate::reader::words;
use crate::spec::Spec;

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// One label for a text, or for a pair of texts.
    TextClassification,
    /// Any number of labels for a text, or for a pair.
    MultiLabelClassification,
    /// A number for a text, or for a pair.
    Regression,
    /// A tag for every word: named entities.
    TokenClassification,
    /// The part of a text that answers a question.
    QuestionAnswering,
    /// A vector for a text, near those of texts that belong to it.
    Embedding,
}
words!(Task {
    TextClassification = "text-classification",
    MultiLabelClassification = "multi-label-classification",
    Regression = "regression",
    TokenClassification = "token-classification",
    QuestionAnswering = "question-answering",
    Embedding = "embedding",
});

impl Task {
    /// The metrics that it has; the first is the one that epochs are chosen by where the spec names none.
    pub fn metrics(self) -> &'static [Metric] {
        use Metric::*;
        match self {
            Self::TextClassification => &[F1Macro, Accuracy, PrecisionMacro, RecallMacro, Loss],
            Self::MultiLabelClassification => &[F1Micro, F1Macro, Accuracy, AveragePrecision, Loss],
            Self::Regression => &[R2, Pearson, Spearman, MeanAbsoluteError, RootMeanSquaredError, Loss],
            Self::TokenClassification => &[EntityF1, EntityPrecision, EntityRecall, Accuracy, Loss],
            Self::QuestionAnswering => &[AnswerF1, ExactMatch, Loss],
            Self::Embedding => &[RecallAt1, RecallAt10, MeanReciprocalRank, Loss],
        }
    }

    /// Whether an answer holds labels of a declared set.
    pub fn has_labels(self) -> bool {
        matches!(self, Self::TextClassification | Self::MultiLabelClassification | Self::TokenClassification)
    }

    /// Fewest labels with which there is something to learn.
    pub fn fewest_labels(self) -> usize {
        match self {
            Self::TextClassification | Self::TokenClassification => 2,
            Self::MultiLabelClassification => 1,
            Self::Regression | Self::QuestionAnswering | Self::Embedding => 0,
        }
    }
}

impl Spec {
    /// Why this model cannot be refitted from feedback, as one sentence; `None` where it can.
    pub fn no_refit(&self) -> Option<String> {
        let why = match (self.model.task, &self.data.pair) {
            (Task::TextClassification | Task::MultiLabelClassification, None) => return None,
            (Task::TextClassification | Task::MultiLabelClassification, Some(_)) => {
                "feedback holds one text, and this model reads two".to_owned()
            }
            (task, _) => format!("feedback and the gate compare labels, and {task} has no label for a text"),
        };
        Some(format!("the model is trained, served and watched for drift, but not refitted: {why}"))
    }
}

/// What the sections say of one another: columns, metric and method that the task cannot have.
pub(crate) fn check(spec: &mut Spec, metric_is_given: bool, problems: &mut Vec<Problem>) {
    let task = spec.model.task;
    spec.data.task = task;
    let mut problem = |path: &str, value: Option<String>, problem: String, fix: String| {
        problems.push(Problem { path: path.into(), line: None, value, problem, fix });
    };
    let missing = |what: &str| format!("{task} needs {what}");
    match (task, &spec.data.pair) {
        (Task::QuestionAnswering, None) => problem(
            "data.pair",
            None,
            missing("the question of each text"),
            "name its column: pair = \"question\"".into(),
        ),
        (Task::Embedding, None) => problem(
            "data.pair",
            None,
            missing("a text that belongs to each text"),
            "name its column: pair = \"positive\"".into(),
        ),
        (Task::TokenClassification, Some(pair)) => problem(
            "data.pair",
            Some(format!("{pair:?}")),
            format!("{task} reads one text"),
            "remove the key".into(),
        ),
        _ => {}
    }
    for (key, column, owner) in [
        ("negative", &spec.data.negative, Task::Embedding),
        ("answer_start", &spec.data.answer_start, Task::QuestionAnswering),
    ] {
        if let (Some(column), true) = (column, task != owner) {
            problem(
                &format!("data.{key}"),
                Some(format!("{column:?}")),
                format!("{task} has no such column"),
                format!("remove the key, or set task = \"{owner}\""),
            );
        }
    }
    if spec.data.labels.is_some() && !task.has_labels() {
        problem("data.labels", None, format!("{task} has no labels"), "remove the key".into());
    }
    if task == Task::Embedding && spec.train.method == crate::Method::FeatureExtraction {
        problem(
            "train.method",
            Some("\"feature-extraction\"".into()),
            "an embedding has no head, so nothing would be trained".into(),
            "write \"full\", \"partial(last_layers = 2)\" or \"lora(rank = 8, alpha = 16)\"".into(),
        );
    }
    if let (Some(alpha), true) = (spec.train.mixup, task != Task::TextClassification) {
        problem(
            "train.mixup",
            Some(alpha.to_string()),
            format!("{task} cannot be mixed up"),
            "remove the key, or write 0".into(),
        );
    }
    let rule = &mut spec.train.early_stopping;
    if !metric_is_given {
        rule.metric = task.metrics()[0];
    } else if !task.metrics().contains(&rule.metric) {
        let known: Vec<String> = task.metrics().iter().map(|metric| format!("\"{metric}\"")).collect();
        problem(
            "train.early_stopping.metric",
            Some(format!("\"{}\"", rule.metric)),
            format!("{task} has no such metric"),
            format!("write one of {}", known.join(", ")),
        );
    }
}
