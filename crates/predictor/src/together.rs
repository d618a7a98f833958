//! Several texts in one run, how long runs take, and how far their outputs are from those of single runs.

use std::time::{Duration, Instant};

use refit_preprocess::{Encoding, Window};

use crate::{Input, Prediction, PredictorError, Worker, worker::Row};

impl Worker {
    /// Answers inputs in one run, the shorter ones padded. Each must have one window. The answers are those of
    /// [`Worker::predict_tokens`] as far as the engine computes rows independently: see
    /// [`Worker::deviation_together`].
    pub fn predict_together(
        &mut self,
        inputs: &[(Input<'_>, &Window)],
    ) -> Result<Vec<Prediction>, PredictorError> {
        let encodings: Vec<&Encoding> = inputs.iter().map(|(_, window)| &window.encoding).collect();
        let rows = self.run_rows(&encodings)?;
        let inputs = inputs.iter().zip(rows);
        inputs
            .map(|((input, window), row)| self.prediction(*input, std::slice::from_ref(*window), vec![row]))
            .collect()
    }

    /// How long one run of so many texts with so many tokens each takes.
    pub fn time_run(&mut self, texts: usize, tokens: usize) -> Result<Duration, PredictorError> {
        let made_up = Encoding {
            input_ids: vec![1; tokens],
            attention_mask: vec![1; tokens],
            token_type_ids: vec![0; tokens],
            unknown_tokens: 0,
            truncated: false,
        };
        let encodings = vec![&made_up; texts];
        let started = Instant::now();
        self.run_rows(&encodings)?;
        Ok(started.elapsed())
    }

    /// Gives back working memory that larger runs than that of a short text needed, by one such run.
    pub fn shrink(&mut self) -> Result<(), PredictorError> {
        const SHORT: usize = 8;
        self.shrink_with_next_run();
        self.time_run(1, SHORT).map(drop)
    }

    /// Runs texts together and alone, and gives the largest difference of an output, relative to outputs above 1.
    pub fn deviation_together(&mut self, inputs: &[Input<'_>]) -> Result<f32, PredictorError> {
        let encodings = self.encodings(inputs)?;
        let encodings: Vec<&Encoding> = encodings.iter().collect();
        let together = self.run_rows(&encodings)?;
        let mut largest = 0f32;
        for (encoding, together) in encodings.iter().zip(&together) {
            for alone in self.run_rows(&[encoding])? {
                largest = largest.max(deviation(together, &alone));
            }
        }
        Ok(largest)
    }

    /// Runs texts alone here and in `other`, and gives the same difference.
    pub fn deviation_from(&mut self, other: &mut Self, inputs: &[Input<'_>]) -> Result<f32, PredictorError> {
        let mut largest = 0f32;
        for encoding in self.encodings(inputs)? {
            let (here, there) = (self.run_rows(&[&encoding])?, other.run_rows(&[&encoding])?);
            for (here, there) in here.iter().zip(&there) {
                largest = largest.max(deviation(here, there));
            }
        }
        Ok(largest)
    }

    fn encodings(&self, inputs: &[Input<'_>]) -> Result<Vec<Encoding>, PredictorError> {
        let mut encodings = Vec::new();
        for input in inputs {
            encodings.extend(self.tokenize(*input)?.into_iter().map(|window| window.encoding));
        }
        Ok(encodings)
    }
}

fn deviation((logits, embedding): &Row, (other_logits, other_embedding): &Row) -> f32 {
    let here = logits.iter().chain(embedding);
    let there = other_logits.iter().chain(other_embedding);
    here.zip(there).map(|(here, there)| (here - there).abs() / there.abs().max(1.0)).fold(0.0, f32::max)
}
