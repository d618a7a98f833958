use crate::problem::Problem;
use crate::reader::Reader;
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// What is taken out of the pretrained model before it is trained, by magnitude; training learns again what was lost. A model without some of its heads and columns is smaller and faster. Weights that are set to zero leave it its shape: its files compress better, its accuracy may gain as from any regularization, and no engine is faster. Without the section nothing is taken out.
    RawPrune at "train.prune" {
        /// Share of the heads that goes from each attention; one stays.
        heads: "share" = "(0)",
        /// Share of the columns that goes from each feed-forward layer; they stay in groups of 16.
        feed_forward: "share" = "(0)",
        /// Share of the weights of each linear layer and convolution, the head's aside, that is set to zero and stays zero through training and refits. What is 0 in a champion goes first, so a larger share takes more out of it. Not with `lora`, whose adapters are added to all weights.
        weights: "share" = "(0)",
    }
}

/// `train.prune`, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prune {
    /// Share of the heads of each attention.
    pub heads: f64,
    /// Share of the columns of each feed-forward layer.
    pub feed_forward: f64,
    /// Share of the weights of each layer that is set to zero.
    pub weights: f64,
}

impl Section for Prune {
    type Raw = RawPrune;

    fn check(raw: &RawPrune, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("train.prune", problems);
        Some(Self {
            heads: r.number("heads", &raw.heads, 0.0..=0.95).unwrap_or(0.0),
            feed_forward: r.number("feed_forward", &raw.feed_forward, 0.0..=0.95).unwrap_or(0.0),
            weights: r.number("weights", &raw.weights, 0.0..=0.99).unwrap_or(0.0),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .value("heads", self.heads)
            .value("feed_forward", self.feed_forward)
            .value("weights", self.weights)
    }
}

impl std::fmt::Display for Prune {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (heads, columns) = (100.0 * self.heads, 100.0 * self.feed_forward);
        write!(f, "{heads:.0} % of the heads and {columns:.0} % of the feed-forward columns taken out")?;
        if self.weights > 0.0 {
            write!(f, ", {:.0} % of the weights of each layer set to zero", 100.0 * self.weights)?;
        }
        Ok(())
    }
}
