use std::sync::Arc;

use refit_engine::{EngineError, Model, Port, Session, Tensor, arrange, without_panic};
use tract_onnx::{
    prelude::{TValue, TVec, TractResult, TypedFact, TypedRunnableModel},
    tract_core::internal::ensure,
};

use crate::{
    NAME, one_line,
    tensor::{data_type, from_tract, to_tract},
};

/// A session over a plan that other sessions may share.
#[derive(Clone)]
pub(crate) struct TractSession {
    plan: Arc<TypedRunnableModel>,
    inputs: Arc<[Port]>,
    outputs: Arc<[Port]>,
}

impl TractSession {
    pub(crate) fn new(
        plan: Arc<TypedRunnableModel>,
        input_names: &[String],
        output_names: &[String],
    ) -> TractResult<Self> {
        let model = plan.model();
        let inputs = model
            .input_outlets()?
            .iter()
            .map(|&outlet| Ok(port(&model.node(outlet.node).name, model.outlet_fact(outlet)?)))
            .collect::<TractResult<Vec<Port>>>()?;
        for input in &inputs {
            ensure!(input_names.contains(&input.name), "its input {:?} was lost", input.name);
        }
        let outlets = model.output_outlets()?;
        ensure!(outlets.len() == output_names.len(), "some of its outputs were lost");
        let outputs = outlets
            .iter()
            .zip(output_names)
            .map(|(&outlet, name)| Ok(port(name, model.outlet_fact(outlet)?)))
            .collect::<TractResult<Vec<Port>>>()?;
        Ok(Self { plan, inputs: inputs.into(), outputs: outputs.into() })
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError> {
        let failed = |reason: String| EngineError::Run { engine: NAME, reason };
        let values = arrange(&self.inputs, inputs)?
            .into_iter()
            .map(|tensor| to_tract(tensor).map(TValue::from))
            .collect::<TractResult<TVec<TValue>>>()
            .map_err(|error| failed(one_line(&error)))?;
        // Every run has a state of its own, so a panic leaves nothing half changed behind.
        let results = without_panic(|| self.plan.run(values)).map_err(failed)?;
        let results = results.map_err(|error| failed(one_line(&error)))?;
        self.outputs
            .iter()
            .zip(results)
            .map(|(port, value)| Ok((port.name.clone(), from_tract(&port.name, value)?)))
            .collect()
    }

    fn model(&self) -> Arc<dyn Model> {
        Arc::new(self.clone())
    }
}

/// A session holds nothing but the shared plan, so it can be its own template.
impl Model for TractSession {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

fn port(name: &str, fact: &TypedFact) -> Port {
    Port {
        name: name.to_owned(),
        dtype: data_type(fact.datum_type),
        shape: fact
            .shape
            .iter()
            .map(|axis| axis.as_i64().and_then(|size| usize::try_from(size).ok()))
            .collect(),
    }
}
