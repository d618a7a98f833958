//! How long a run takes, by the texts in it, their tokens, and the threads that work on it.

use std::sync::Arc;

/// One measured run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub texts: usize,
    /// Tokens of each text.
    pub tokens: usize,
    pub threads: usize,
    pub seconds: f64,
}

/// What was measured of a model on this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curve {
    points: Vec<Point>,
}

/// How a loaded version is computed.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub curve: Arc<Curve>,
    /// The most texts of one run; 1 where batches do not pay or change answers.
    pub largest_batch: usize,
    /// The threads that may work on a lone text; 1 where that does not pay or changes answers.
    pub threads: usize,
}

/// How much quicker something must be before it is done in another way than one text on one thread.
pub(crate) const WORTHWHILE: f64 = 0.9;

impl Curve {
    pub fn new(mut points: Vec<Point>) -> Self {
        points.sort_by_key(|point| (point.threads, point.texts, point.tokens));
        Self { points }
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Seconds of such a run: between measured points in proportion, beyond them in proportion to the tokens.
    /// `None` when runs on so many threads were not measured.
    pub fn seconds(&self, texts: usize, tokens: usize, threads: usize) -> Option<f64> {
        let sizes = || self.sizes(threads);
        if let Some(exact) = sizes().find(|&size| size == texts) {
            return self.along_tokens(exact, tokens, threads);
        }
        let below = sizes().filter(|&size| size < texts).last()?;
        let shorter = self.along_tokens(below, tokens, threads)?;
        match sizes().find(|&size| size > texts) {
            Some(above) => {
                let longer = self.along_tokens(above, tokens, threads)?;
                let part = (texts - below) as f64 / (above - below) as f64;
                Some(shorter + part * (longer - shorter))
            }
            None => Some(shorter * texts as f64 / below as f64),
        }
    }

    /// The measured numbers of texts, rising.
    fn sizes(&self, threads: usize) -> impl Iterator<Item = usize> {
        let mut last = 0;
        self.points.iter().filter(move |point| point.threads == threads).filter_map(move |point| {
            let is_new = point.texts != last;
            last = point.texts;
            is_new.then_some(point.texts)
        })
    }

    fn along_tokens(&self, texts: usize, tokens: usize, threads: usize) -> Option<f64> {
        let points = || self.points.iter().filter(|point| point.texts == texts && point.threads == threads);
        let below = points().rfind(|point| point.tokens <= tokens);
        let above = points().find(|point| point.tokens >= tokens);
        match (below, above) {
            (Some(below), Some(above)) if above.tokens > below.tokens => {
                let part = (tokens - below.tokens) as f64 / (above.tokens - below.tokens) as f64;
                Some(below.seconds + part * (above.seconds - below.seconds))
            }
            (Some(exact), Some(_)) => Some(exact.seconds),
            (Some(last), None) => Some(last.seconds * tokens as f64 / last.tokens as f64),
            // A run has costs that do not shrink with its texts.
            (None, Some(first)) => Some(first.seconds),
            (None, None) => None,
        }
    }

    /// The most texts for which a run of equal lengths is worthwhile anywhere on the curve; 1 if it never is.
    pub fn largest_worthwhile_batch(&self) -> usize {
        let pays = |point: &&Point| {
            let alone = self.seconds(1, point.tokens, 1);
            point.threads == 1
                && point.texts > 1
                && alone.is_some_and(|alone| point.seconds < WORTHWHILE * point.texts as f64 * alone)
        };
        self.points.iter().filter(pays).map(|point| point.texts).max().unwrap_or(1)
    }

    /// The threads with which a single text is worthwhile quicker at some length, if there are such.
    pub fn worthwhile_threads(&self) -> Option<usize> {
        let pays = |point: &&Point| {
            let alone = self.seconds(1, point.tokens, 1);
            point.threads > 1
                && point.texts == 1
                && alone.is_some_and(|alone| point.seconds < WORTHWHILE * alone)
        };
        self.points.iter().find(pays).map(|point| point.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(usize, usize, usize, f64)]) -> Curve {
        let point = |&(texts, tokens, threads, seconds): &_| Point { texts, tokens, threads, seconds };
        Curve::new(points.iter().map(point).collect())
    }

    #[test]
    fn between_points_it_is_in_proportion_and_beyond_them_too() {
        let curve =
            curve(&[(4, 32, 1, 12.0), (4, 8, 1, 4.0), (1, 8, 1, 2.0), (1, 32, 1, 4.0), (1, 32, 2, 2.5)]);
        for ((texts, tokens, threads), expected) in [
            ((1, 8, 1), Some(2.0)),
            ((1, 20, 1), Some(3.0)),
            ((1, 64, 1), Some(8.0)),
            ((1, 2, 1), Some(2.0)),
            ((4, 20, 1), Some(8.0)),
            ((2, 8, 1), Some(2.0 + 2.0 / 3.0)),
            ((8, 32, 1), Some(24.0)),
            ((1, 32, 2), Some(2.5)),
            ((1, 32, 3), None),
        ] {
            assert_eq!(curve.seconds(texts, tokens, threads), expected, "{texts} x {tokens} on {threads}");
        }
        assert_eq!(Curve::default().seconds(1, 8, 1), None);
    }

    #[test]
    fn only_a_clear_gain_is_worthwhile() {
        let alone = [(1, 8, 1, 1.0), (1, 32, 1, 4.0)];
        let check = |more: &[(usize, usize, usize, f64)], batch: usize, threads: Option<usize>| {
            let curve = curve(&[&alone, more].concat());
            assert_eq!((curve.largest_worthwhile_batch(), curve.worthwhile_threads()), (batch, threads));
        };
        check(&[], 1, None);
        check(&[(4, 8, 1, 3.7), (1, 8, 2, 0.95)], 1, None);
        check(&[(4, 8, 1, 3.5), (8, 8, 1, 7.5)], 4, None);
        check(&[(4, 32, 1, 15.0), (8, 8, 1, 7.0)], 8, None);
        check(&[(1, 8, 2, 1.2), (1, 32, 2, 2.5)], 1, Some(2));
    }
}
