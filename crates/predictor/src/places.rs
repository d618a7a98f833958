//! The sessions of a predictor, by the place that they belong to: a part of the machine with a memory of its own. What a
//! place is, and which thread belongs to it, the caller knows.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use refit_engine::{Engine, EngineError, Model, Session, SessionOptions};

use crate::worker::Pool;

/// The places of one predictor; the first one is loaded.
pub(crate) struct Places {
    recipe: Recipe,
    first: Arc<dyn Model>,
    places: Box<[OnceLock<Place>]>,
}

/// What it takes to load the weights once more.
pub(crate) struct Recipe {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) file: PathBuf,
    pub(crate) options: SessionOptions,
}

/// Sessions over one copy of the weights.
struct Place {
    model: Arc<dyn Model>,
    idle: Mutex<Vec<Box<dyn Session>>>,
    idle_wide: Mutex<Vec<Box<dyn Session>>>,
}

impl Place {
    fn new(session: Box<dyn Session>) -> Self {
        Self { model: session.model(), idle: Mutex::new(vec![session]), idle_wide: Mutex::default() }
    }
}

impl Places {
    /// `count` places, of which the first one has this session.
    pub(crate) fn new(recipe: Recipe, session: Box<dyn Session>, count: usize) -> Self {
        let model = session.model();
        let loaded = OnceLock::from(Place::new(session));
        let others = (1..count).map(|_| OnceLock::new());
        Self { recipe, first: model, places: std::iter::once(loaded).chain(others).collect() }
    }

    /// The weights of the first place.
    pub(crate) fn first(&self) -> &dyn Model {
        &*self.first
    }

    /// An idle session of a place, else another one over its weights.
    pub(crate) fn narrow(&self, place: usize) -> Result<Box<dyn Session>, EngineError> {
        let place = self.at(place)?;
        let idle = take(&place.idle);
        idle.map_or_else(|| place.model.session(), Ok)
    }

    /// The same of those whose runs have several threads; `None` where the engine knows only one.
    pub(crate) fn wide(&self, place: usize, threads: usize) -> Result<Option<Box<dyn Session>>, EngineError> {
        let place = self.at(place)?;
        let idle = take(&place.idle_wide);
        idle.map_or_else(|| place.model.wide_session(threads), |session| Ok(Some(session)))
    }

    /// Takes a session that is not used any more; one of [`Pool::None`] is freed.
    pub(crate) fn give_back(&self, session: Box<dyn Session>, pool: Pool) {
        let (place, wide) = match pool {
            Pool::Narrow(place) => (place, false),
            Pool::Wide(place) => (place, true),
            Pool::None => return,
        };
        if let Some(place) = self.place(place).get() {
            let idle = if wide { &place.idle_wide } else { &place.idle };
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
    }

    /// Frees the idle sessions whose runs have several threads.
    pub(crate) fn drop_wide(&self) {
        for place in self.places.iter().filter_map(OnceLock::get) {
            place.idle_wide.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// A place, loaded by the calling thread if nobody has yet.
    fn at(&self, place: usize) -> Result<&Place, EngineError> {
        let place = self.place(place);
        if let Some(loaded) = place.get() {
            return Ok(loaded);
        }
        let Recipe { engine, file, options } = &self.recipe;
        let session = engine.load(file.as_path().into(), options)?;
        // If another thread was quicker, this copy is freed.
        Ok(place.get_or_init(|| Place::new(session)))
    }

    /// A place that was not announced is the first one.
    fn place(&self, place: usize) -> &OnceLock<Place> {
        self.places.get(place).unwrap_or(&self.places[0])
    }
}

fn take(idle: &Mutex<Vec<Box<dyn Session>>>) -> Option<Box<dyn Session>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}
