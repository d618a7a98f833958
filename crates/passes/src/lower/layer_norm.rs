//! ```text
//! refit.LayerNorm(x, gamma, beta)    =>    LayerNormalization(x, gamma, beta)                          opset 17 and later
//!                                    =>    Add(Mul(Div(x - mean, Sqrt(mean((x - mean)^2) + e)), gamma), beta)    before
//! ```

use super::{Lowering, Site};
use crate::PassError;
use refit_graph::{Attribute, ValueId};

/// The opset that brought LayerNormalization.
const SINCE: i64 = 17;

pub(super) fn lower(lowering: &mut Lowering<'_>, site: &Site<'_>) -> Result<ValueId, PassError> {
    let graph = lowering.graph;
    let (x, gamma, beta) = (site.input(graph, 0)?, site.input(graph, 1)?, site.input(graph, 2)?);
    let epsilon = site.node.float("epsilon").unwrap_or(1e-5);
    if lowering.opset >= SINCE {
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(epsilon))];
        let name = site.name(graph, "LayerNormalization");
        return Ok(lowering.standard("LayerNormalization", &name, &[x, gamma, beta], attributes));
    }
    let mean_of = |lowering: &mut Lowering<'_>, value: ValueId| {
        let attributes = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(1))];
        lowering.standard("ReduceMean", &site.name(graph, "ReduceMean"), &[value], attributes)
    };
    let (two, epsilon) = (lowering.scalar(2.0), lowering.scalar(epsilon));
    let mean = mean_of(lowering, x);
    let centered = lowering.standard("Sub", &site.name(graph, "Sub"), &[x, mean], []);
    let squared = lowering.standard("Pow", &site.name(graph, "Pow"), &[centered, two], []);
    let variance = mean_of(lowering, squared);
    let shifted = lowering.standard("Add", &site.name(graph, "Add"), &[variance, epsilon], []);
    let deviation = lowering.standard("Sqrt", &site.name(graph, "Sqrt"), &[shifted], []);
    let normal = lowering.standard("Div", &site.name(graph, "Div"), &[centered, deviation], []);
    let scaled = lowering.standard("Mul", &site.name(graph, "Mul"), &[normal, gamma], []);
    Ok(lowering.standard("Add", &site.name(graph, "Add"), &[scaled, beta], []))
}
