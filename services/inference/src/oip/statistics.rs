//! What the versions that serve have answered, and in what time: the counters of `/metrics` in the protocol's terms.

use prometheus::Histogram;

use super::{model, serving};
use crate::{api_error::ApiError, app::App, routing::Serving};

/// How often something happened, and the time that it took in all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Duration {
    pub count: u64,
    pub ns: u64,
}

/// One version since it was loaded. Texts are the unit of counting.
pub(crate) struct VersionStatistics {
    pub name: String,
    pub version: String,
    /// Texts answered; times are of texts from the request's arrival to the answer, those that failed included.
    pub success: Duration,
    /// Texts that the tokenizer or the engine failed on. Their times are with the others'.
    pub fail: Duration,
    pub queue: Duration,
    pub tokenize: Duration,
    pub compute: Duration,
}

/// The statistics of a model's serving versions, or of one of them; without a model, of all.
pub(crate) fn statistics(
    app: &App,
    name: Option<&str>,
    version: Option<&str>,
) -> Result<Vec<VersionStatistics>, ApiError> {
    let Some(name) = name else {
        let of_model = |model: &std::sync::Arc<crate::routing::Model>| -> Vec<VersionStatistics> {
            model.routing().serving().map(|(serving, _)| of_version(&model.name, serving)).collect()
        };
        return Ok(app.models.all().iter().flat_map(of_model).collect());
    };
    let routing = model(app, name)?.routing();
    match version {
        Some(_) => Ok(vec![of_version(name, serving(&routing, name, version)?)]),
        None => Ok(routing.serving().map(|(serving, _)| of_version(name, serving)).collect()),
    }
}

fn of_version(name: &str, serving: &Serving) -> VersionStatistics {
    let (phases, counters) = (&serving.model.phases, &serving.model.counters);
    let total = of_phase(&phases.total);
    VersionStatistics {
        name: name.to_owned(),
        version: serving.model.version.to_string(),
        success: Duration { count: counters.predictions.get(), ns: total.ns },
        fail: Duration { count: counters.failures.get(), ns: 0 },
        queue: of_phase(&phases.queue),
        tokenize: of_phase(&phases.tokenize),
        compute: of_phase(&phases.compute),
    }
}

fn of_phase(phase: &Histogram) -> Duration {
    // A sum of seconds is never negative, and a float beyond the integers becomes the largest of them.
    Duration { count: phase.get_sample_count(), ns: (phase.get_sample_sum() * 1e9) as u64 }
}
