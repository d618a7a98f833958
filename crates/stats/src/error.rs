/// What a statistical function was asked and could not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// A sample holds nothing, so nothing can be said about it.
    #[error("{sample} holds no observations: collect some before judging it")]
    NoObservations {
        /// Which sample is empty.
        sample: &'static str,
    },
    /// Two histograms do not share their bins.
    #[error(
        "the reference has {reference} bins and the observed counts {observed}: count both into the same bins"
    )]
    BinsDiffer {
        /// Bins of the reference.
        reference: usize,
        /// Bins of the observed counts.
        observed: usize,
    },
    /// A setting or count lies outside of what the formula is defined for.
    #[error("{name} is {value}: it must be {expected}")]
    OutOfRange {
        /// The argument.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What is allowed, in words.
        expected: &'static str,
    },
    /// A class index beyond the labels.
    #[error("class index {class} does not exist: there are {classes} classes")]
    UnknownClass {
        /// The index that was given.
        class: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// Two slices that describe the same rows differ in length.
    #[error("{left} has {left_len} entries and {right} has {right_len}: they must describe the same rows")]
    LengthsDiffer {
        /// First slice.
        left: &'static str,
        /// Its length.
        left_len: usize,
        /// Second slice.
        right: &'static str,
        /// Its length.
        right_len: usize,
    },
}

/// Checks that a probability-like setting lies strictly between 0 and 1.
pub(crate) fn check_open_unit(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(StatsError::OutOfRange { name, value, expected: "strictly between 0 and 1" })
    }
}

/// Checks that `successes` can come from `trials`, and that there are trials.
pub(crate) fn check_trials(sample: &'static str, successes: u64, trials: u64) -> Result<(), StatsError> {
    if trials == 0 {
        return Err(StatsError::NoObservations { sample });
    }
    if successes > trials {
        return Err(StatsError::OutOfRange {
            name: "successes",
            value: successes as f64,
            expected: "at most the number of trials",
        });
    }
    Ok(())
}
