//! Makes an encoder of texts: one vector of length 1 a text.
//!
//! ```text
//! hidden[B,S,H] -> (old outputs)   =>   hidden[B,S,H] -> pool -> x / |x| -> embedding[B,H]
//! ```

use super::{
    Pool,
    replace_head::{batch_axis, hidden_state},
};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, DType, Fact, HostTensor, Model, OpName, Patch, ValueId};

/// Replaces the outputs by `embedding` `[batch, hidden]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embed {
    /// Name of the hidden state, float32 `[batch, sequence, hidden]`.
    pub at: String,
    /// How it is pooled.
    pub pool: Pool,
}

impl Edit for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Replaced
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let (hidden, size) = hidden_state(graph, &self.at, self.pool)?;
        let mut patch = Patch::new(graph);
        let pooled = self.pool.apply(&mut patch, model, hidden)?;
        let last = patch.initializer("embedding.last_axis", HostTensor::from_i64(&[1], &[-1]), false);
        let least = patch.initializer("embedding.least_norm", HostTensor::from_f32(&[], &[1e-12]), false);
        let mut node = |op: &str, inputs: &[ValueId], attribute: Option<(&'static str, i64)>| {
            let attributes = attribute.map(|(key, value)| (key, Attribute::Int(value)));
            let name = format!("embedding.{}", op.to_lowercase());
            patch.node(OpName::standard(op), &name, inputs, attributes)
        };
        // Not LpNormalization, which tract does not have.
        let squares = node("Mul", &[pooled, pooled], None);
        let sum = node("ReduceSum", &[squares, last], Some(("keepdims", 1)));
        let norm = node("Sqrt", &[sum], None);
        let norm = node("Max", &[norm, least], None);
        let embedding = node("Div", &[pooled, norm], None);
        patch.set_fact(embedding, Fact::new(DType::F32, [batch_axis(graph, hidden), size.into()]));
        patch.set_outputs(vec![embedding]);
        patch.rename(embedding, "embedding");
        Ok(patch)
    }
}
