use std::sync::{Arc, RwLock};

use refit_store::Deployment;

use crate::{
    memory::Memory,
    observe::Verdict,
    plan::{Plan, State},
};

/// What the loop saw and decided last, for those who look from outside.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) deployment: Deployment,
    pub(crate) memory: Memory,
    pub(crate) plan: Plan,
    pub(crate) drift: Option<Verdict>,
    pub(crate) wealth: Vec<(u64, f64)>,
}

/// The latest view, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Latest {
    pub(crate) view: Option<Arc<View>>,
    pub(crate) error: Option<String>,
    pub(crate) looked_at: jiff::Timestamp,
}

/// Shared between the loop, which writes, and the API, which reads.
#[derive(Clone, Debug)]
pub(crate) struct Board(Arc<RwLock<Latest>>);

impl Board {
    pub(crate) fn new() -> Self {
        let latest = Latest { view: None, error: None, looked_at: jiff::Timestamp::now() };
        Self(Arc::new(RwLock::new(latest)))
    }

    pub(crate) fn latest(&self) -> Latest {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn show(&self, result: Result<View, String>) {
        let mut latest = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        latest.looked_at = jiff::Timestamp::now();
        match result {
            Ok(view) => {
                latest.view = Some(Arc::new(view));
                latest.error = None;
            }
            // The last view stays: it says how things stood when they could last be seen.
            Err(error) => latest.error = Some(error),
        }
    }
}
