use crate::{Edit, PassError, Tolerance, rewrite::Rewrite};
use refit_graph::{Model, Node, OpName, Patch};

/// Lets batch normalization train: by the statistics of each batch, which the running ones follow. Without
/// this pass, training keeps the running statistics as they are (frozen batch normalization).
///
/// ```text
/// BatchNormalization(x, scale, bias, mean, variance)  =>  refit.BatchNorm(x, scale, bias, mean, variance)
/// ```
///
/// The answers of the model stay the same: `refit.BatchNorm` differs in training alone.
#[derive(Debug, Clone, Copy)]
pub struct BatchStatistics;

impl Edit for BatchStatistics {
    fn name(&self) -> &'static str {
        "batch-statistics"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes().filter(|(_, node)| evaluates(node)) {
            let mut new = Node { op: OpName::refit("BatchNorm"), ..node.clone() };
            new.attributes.remove("training_mode");
            new.outputs.resize(3, None);
            rewrite.replace_node(node, new);
        }
        Ok(rewrite.patch)
    }
}

fn evaluates(node: &Node) -> bool {
    let plain = node.op.is("BatchNormalization") && node.int("training_mode").unwrap_or(0) == 0;
    plain && node.inputs.len() == 5 && node.outputs.iter().skip(1).all(Option::is_none)
}
