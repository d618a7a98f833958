/// Why raw input cannot be turned into tensors.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// The bytes are no `tokenizer.json`.
    #[error(
        "the tokenizer cannot be read: give a complete tokenizer.json of the Hugging Face `tokenizers` library"
    )]
    ReadTokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no room for a single token of the text.
    #[error(
        "max_length = {max_length} leaves no room for text beside the {special} special tokens: set train.max_length to at least {}",
        special + 1
    )]
    MaxLength {
        /// The configured length.
        max_length: usize,
        /// Special tokens that are added to every text.
        special: usize,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer failed on a text of {characters} characters: check it against the tokenizer.json")]
    Encode {
        /// Length of the text.
        characters: usize,
        /// What the tokenizer said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Tokens that were made elsewhere do not fit the model.
    #[error("{reason}: make them with the model's own tokenizer")]
    Tokens {
        /// What is wrong with them.
        reason: String,
    },
}
