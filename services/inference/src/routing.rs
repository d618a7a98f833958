//! Which version answers a text.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use refit_store::Role;

use crate::loaded::LoadedModel;

/// A model, and the versions that answer for it now.
pub(crate) struct Model {
    pub name: Arc<str>,
    routing: RwLock<Arc<Routing>>,
    residence: Mutex<Residence>,
    /// Milliseconds from `born` to the last request.
    used: AtomicU64,
    born: Instant,
}

/// Whether a model is to be in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Residence {
    /// It is loaded as soon as it can be.
    #[default]
    Wanted,
    /// The same, and it does not give way to others.
    Pinned,
    /// There was no room, or others needed it: the next request loads it.
    OnDemand,
    /// It was unloaded by hand, and stays so until it is loaded by hand.
    Unloaded,
}

/// The versions that answer. Never changed, only replaced: a request that has one keeps it.
#[derive(Clone, Default)]
pub(crate) struct Routing {
    /// The deployment's generation; 0 before the first.
    pub generation: i64,
    pub champion: Option<Serving>,
    pub canary: Option<(Serving, f64)>,
    /// What answers nobody, and the percent of the requests that it gets a copy of.
    pub shadow: Option<(Serving, f64)>,
}

/// A loaded version, and what is to be known about its service.
#[derive(Clone)]
pub(crate) struct Serving {
    pub model: Arc<LoadedModel>,
    pub since: Timestamp,
    pub reason: String,
}

impl Model {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            routing: RwLock::default(),
            residence: Mutex::default(),
            used: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    pub fn residence(&self) -> Residence {
        *self.lock_residence()
    }

    pub fn set_residence(&self, residence: Residence) {
        *self.lock_residence() = residence;
    }

    fn lock_residence(&self) -> MutexGuard<'_, Residence> {
        self.residence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came in.
    pub fn touch(&self) {
        self.used.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// When the last request came in; when the model became known, if there was none.
    pub fn last_used(&self) -> Instant {
        self.born + Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    /// Bytes that its versions hold.
    pub fn memory_bytes(&self) -> u64 {
        self.routing().loaded().map(|(serving, _)| serving.model.memory_bytes).sum()
    }

    pub fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.routing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another routing in place and returns the one before.
    pub fn replace(&self, routing: Routing) -> Arc<Routing> {
        let mut current = self.routing.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(routing))
    }
}

impl Routing {
    /// The version for `key`, the same as long as the deployment stays as it is. A key that the canary answers at a
    /// share of 5 % it also answers at 25 %.
    pub fn pick(&self, key: &str) -> Option<(&Serving, Role)> {
        if let Some((canary, percent)) = &self.canary
            && position(&canary.model.version, key) < *percent
        {
            return Some((canary, Role::Canary));
        }
        self.champion.as_ref().map(|champion| (champion, Role::Champion))
    }

    /// The serving version of this name.
    pub fn version(&self, version: &str) -> Option<(&Serving, Role)> {
        self.serving().find(|(serving, _)| &*serving.model.version == version)
    }

    /// The version that gets a copy of the requests with `key`, if there is one.
    pub fn shadow_for(&self, key: &str) -> Option<&Arc<LoadedModel>> {
        let (shadow, percent) = self.shadow.as_ref()?;
        (position(&shadow.model.version, key) < *percent).then_some(&shadow.model)
    }

    /// All versions in memory.
    pub fn loaded(&self) -> impl Iterator<Item = (&Serving, Role)> {
        self.serving().chain(self.shadow.iter().map(|(shadow, _)| (shadow, Role::Shadow)))
    }

    /// All serving versions.
    pub fn serving(&self) -> impl Iterator<Item = (&Serving, Role)> {
        let champion = self.champion.iter().map(|champion| (champion, Role::Champion));
        champion.chain(self.canary.iter().map(|(canary, _)| (canary, Role::Canary)))
    }
}

/// Where a key lies between 0 and 100. The canary's version enters, so that not always the same keys try what is new.
fn position(version: &str, key: &str) -> f64 {
    // FNV-1a, mixed by the finalizer of MurmurHash3: the same on every machine and in every release of refit.
    let bytes = version.bytes().chain([0xff]).chain(key.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    // 53 bits fit a double exactly.
    (hash >> 11) as f64 / (1u64 << 53) as f64 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_evenly_and_depend_on_the_version() {
        let keys: Vec<String> = (0..20_000).map(|number| format!("user-{number}")).collect();
        for percent in [5.0, 25.0, 50.0] {
            let chosen = keys.iter().filter(|key| position("2", key) < percent).count() as f64 / 200.0;
            // Five standard deviations of a binomial share.
            let slack = 5.0 * (percent * (100.0 - percent) / 20_000.0).sqrt();
            assert!((chosen - percent).abs() < slack, "{chosen} of {percent}");
        }
        let both = keys.iter().filter(|key| position("2", key) < 25.0 && position("3", key) < 25.0).count();
        assert!((900..1600).contains(&both), "{both}");
        assert!(keys.iter().all(|key| (0.0..100.0).contains(&position("2", key))));
    }
}
