//! Raw input to tensors.
//!
//! Training and serving run this same code with the same settings, which travel in the artifact as
//! `preprocessing.json` beside `tokenizer.json`. So far: text.
//!
//! This crate reads no files: it is given bytes.

mod batch;
mod beginning;
mod error;
mod known_words;
mod text;
mod tokens;
mod window;

pub use batch::{PaddedBatch, pad};
pub use error::PreprocessError;
pub use text::{Encoding, TextPreprocessor, TextSettings};
pub use tokens::Tokens;
pub use window::{Window, characters, words};
