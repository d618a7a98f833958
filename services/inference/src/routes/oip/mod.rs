//! The Open Inference Protocol, version 2, over REST, with its binary tensor data extension (the wire format that
//! Triton documents and its clients use by default). Raw text is a BYTES tensor.

pub(crate) mod infer;
pub(crate) mod metadata;
mod request;
mod response;

/// The tensors that go in and out.
mod tensors {
    use refit_spec::Task;

    /// Raw text, one element a text.
    pub const TEXT: &str = "text";
    /// The second text, or the question, where the model reads two.
    pub const PAIR: &str = "pair";
    /// One probability a label.
    pub const PROBABILITIES: &str = "probabilities";
    /// A vector.
    pub const EMBEDDING: &str = "embedding";
    /// What feedback is given by.
    pub const PREDICTION_ID: &str = "prediction_id";
    /// The version that answered.
    pub const MODEL_VERSION: &str = "model_version";

    /// The outputs of a task with their data types, those of every task last.
    pub fn outputs(task: Task) -> Vec<(&'static str, &'static str)> {
        let own: &[(&str, &str)] = match task {
            Task::TextClassification => &[("label", "BYTES"), (PROBABILITIES, "FP32")],
            // `a;b`, as data sets write them.
            Task::MultiLabelClassification => &[("labels", "BYTES"), (PROBABILITIES, "FP32")],
            Task::Regression => &[("value", "FP32")],
            // A JSON list a text.
            Task::TokenClassification => &[("entities", "BYTES")],
            Task::QuestionAnswering => {
                &[("answer", "BYTES"), ("start", "INT64"), ("end", "INT64"), ("probability", "FP32")]
            }
            Task::Embedding => &[(EMBEDDING, "FP32")],
        };
        own.iter().copied().chain([(PREDICTION_ID, "BYTES"), (MODEL_VERSION, "BYTES")]).collect()
    }
}
