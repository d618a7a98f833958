use super::chain;
use crate::{Base, HIDDEN_STATE, Pooling};
use refit_graph::Model;
use refit_passes::{
    Driver, Edit,
    edit::{Freeze, FreezePolicy, Lora, Pool, ReplaceHead},
};

/// What a method would train, with a head of two labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodSummary {
    /// As `refit.toml` writes it.
    pub method: String,
    /// Parameters that train, or why none do.
    pub trainable: Result<usize, String>,
}

/// Every method on a base.
pub(super) fn summarize(base: &Base) -> Vec<MethodSummary> {
    let pool = match base.pooling {
        Pooling::Cls => Pool::Cls,
        Pooling::Mean => Pool::Mean,
        Pooling::Max => Pool::Max,
        Pooling::None => Pool::None,
    };
    let at = HIDDEN_STATE.to_owned();
    let head = ReplaceHead { at, pool, labels: 2, dropout: 0.0, carried: Vec::new(), seed: 0 };
    let lora = Lora { rank: 8, alpha: 16.0, targets: Vec::new(), dropout: 0.0, seed: 0 };
    let freeze = |train| Freeze { train };
    let methods: [(String, Box<dyn Edit>); 4] = [
        ("full".to_owned(), Box::new(freeze(FreezePolicy::Nothing))),
        ("partial(last_layers = 1)".to_owned(), Box::new(freeze(FreezePolicy::LastLayers(1)))),
        ("feature-extraction".to_owned(), Box::new(freeze(FreezePolicy::HeadOnly))),
        ("lora(rank = 8, alpha = 16)".to_owned(), Box::new(lora)),
    ];
    let trainable = |method: &dyn Edit| {
        let mut model = base.model.clone();
        let mut driver = Driver::new();
        let edited = driver.edit(&mut model, &head).and_then(|()| driver.edit(&mut model, method));
        edited.map(|()| count(&model)).map_err(|error| chain(&error))
    };
    methods
        .into_iter()
        .map(|(name, method)| MethodSummary { method: name, trainable: trainable(method.as_ref()) })
        .collect()
}

fn count(model: &Model) -> usize {
    let trainable = model.graph.initializers().filter(|(_, initializer)| initializer.trainable);
    trainable.map(|(_, initializer)| initializer.tensor.len()).sum()
}
