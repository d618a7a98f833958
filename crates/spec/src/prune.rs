use crate::problem::Problem;
use crate::reader::Reader;
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// What is taken out of the pretrained model before it is trained, by magnitude: the model is smaller and faster, and training learns again what was lost. Without the section nothing is.
    RawPrune at "train.prune" {
        /// Share of the heads that goes from each attention; one stays.
        heads: "share" = "(0)",
        /// Share of the columns that goes from each feed-forward layer; they stay in groups of 16.
        feed_forward: "share" = "(0)",
    }
}

/// `train.prune`, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prune {
    /// Share of the heads of each attention.
    pub heads: f64,
    /// Share of the columns of each feed-forward layer.
    pub feed_forward: f64,
}

impl Section for Prune {
    type Raw = RawPrune;

    fn check(raw: &RawPrune, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("train.prune", problems);
        Some(Self {
            heads: r.number("heads", &raw.heads, 0.0..=0.95).unwrap_or(0.0),
            feed_forward: r.number("feed_forward", &raw.feed_forward, 0.0..=0.95).unwrap_or(0.0),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().value("heads", self.heads).value("feed_forward", self.feed_forward)
    }
}

impl std::fmt::Display for Prune {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (heads, columns) = (100.0 * self.heads, 100.0 * self.feed_forward);
        write!(f, "{heads:.0} % of the heads and {columns:.0} % of the feed-forward columns taken out")
    }
}
