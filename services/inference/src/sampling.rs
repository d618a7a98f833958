//! Which texts are kept for training: a share of all, and those of interest.
//!
//! Every answer is recorded, so that labels find theirs and live accuracy is that of all answers; of a text that is not
//! kept only the text is left out. A sample by interest would judge the model by what it finds hard.

use prometheus::{IntCounterVec, Opts};
use refit_spec::SamplingSpec;
use uuid::Uuid;

use refit_metrics::Registry;

/// Decides, and counts what it decided.
#[derive(Clone)]
pub(crate) struct Sampler {
    share: f64,
    below_confidence: f64,
    drifted: bool,
    texts: IntCounterVec,
}

/// What an answer says about the interest in its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signs {
    /// None where the model does not say how sure it is.
    pub confidence: Option<f64>,
    /// Whether the window of the latest answers has drifted.
    pub drifted: bool,
}

/// Why a text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Unsure,
    Drifted,
    Share,
}

impl Sampler {
    pub fn register(spec: &SamplingSpec, registry: &Registry) -> Result<Self, prometheus::Error> {
        let texts = IntCounterVec::new(
            Opts::new(
                "refit_texts_sampled_total",
                "Texts by why they were kept for training (unsure, drifted, share), or not_kept.",
            ),
            &["reason"],
        )?;
        for reason in [Kept::Unsure.name(), Kept::Drifted.name(), Kept::Share.name(), NOT_KEPT] {
            texts.with_label_values(&[reason]);
        }
        registry.register(Box::new(texts.clone()))?;
        let &SamplingSpec { share, below_confidence, drifted, .. } = spec;
        Ok(Self { share, below_confidence, drifted, texts })
    }

    /// Whether the text of this prediction is kept. The same prediction always gives the same answer.
    pub fn decide(&self, id: Uuid, signs: Signs) -> Option<Kept> {
        let kept = if signs.confidence.is_some_and(|confidence| confidence < self.below_confidence) {
            Some(Kept::Unsure)
        } else if self.drifted && signs.drifted {
            Some(Kept::Drifted)
        } else {
            (position(id) < self.share).then_some(Kept::Share)
        };
        self.texts.with_label_values(&[kept.map_or(NOT_KEPT, Kept::name)]).inc();
        kept
    }
}

const NOT_KEPT: &str = "not_kept";

impl Kept {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsure => "unsure",
            Self::Drifted => "drifted",
            Self::Share => "share",
        }
    }
}

/// Where an id lies between 0 and 1: its last 32 bits are random, those before them count up within a millisecond.
fn position(id: Uuid) -> f64 {
    f64::from(id.as_u128() as u32) / 2_f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(share: f64, below_confidence: f64) -> Sampler {
        let spec = SamplingSpec { share, below_confidence, ..SamplingSpec::default() };
        Sampler::register(&spec, &Registry::new()).unwrap()
    }

    #[test]
    fn a_share_of_all_and_everything_of_interest() {
        let sampler = sampler(0.2, 0.6);
        let sure = Signs { confidence: Some(0.9), drifted: false };
        let ids: Vec<Uuid> = (0..10_000).map(|_| Uuid::now_v7()).collect();
        let kept = ids.iter().filter(|id| sampler.decide(**id, sure) == Some(Kept::Share)).count();
        // Five standard deviations of 10,000 draws at 0.2 are 200.
        assert!((1800..=2200).contains(&kept), "{kept}");
        let again = ids.iter().filter(|id| sampler.decide(**id, sure).is_some()).count();
        assert_eq!(kept, again);
        let unsure = Signs { confidence: Some(0.59), drifted: true };
        assert!(ids.iter().all(|id| sampler.decide(*id, unsure) == Some(Kept::Unsure)));
        let drifted = Signs { confidence: None, drifted: true };
        assert!(ids.iter().all(|id| sampler.decide(*id, drifted) == Some(Kept::Drifted)));
    }

    #[test]
    fn all_or_none() {
        let signs = Signs { confidence: Some(0.5), drifted: false };
        let id = Uuid::now_v7();
        assert_eq!(sampler(1.0, 0.0).decide(id, signs), Some(Kept::Share));
        assert_eq!(sampler(0.0, 0.0).decide(id, signs), None);
    }
}
