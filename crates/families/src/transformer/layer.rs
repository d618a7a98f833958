use super::Transformer;
use refit_graph::{Attribute, OpName, ValueId};

/// What a family calls the parts of a layer that normalises after each sum:
///
/// ```text
/// x -+-> query, key, value -> attention -> context -> Dropout -> Add -> context_norm = y
///    +------------------------------------------------------------^
/// y -+-> wide -> GELU -> narrow -> Dropout -> Add -> output_norm
///    +-----------------------------------------^
/// ```
pub(crate) struct LayerNames {
    /// Before the index of the layer.
    pub(crate) layers: &'static str,
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) context: &'static str,
    pub(crate) context_norm: &'static str,
    pub(crate) wide: &'static str,
    pub(crate) narrow: &'static str,
    pub(crate) output_norm: &'static str,
}

impl LayerNames {
    /// Those of BERT.
    pub(crate) const BERT: Self = Self {
        layers: "encoder.layer",
        query: "attention.self.query",
        key: "attention.self.key",
        value: "attention.self.value",
        context: "attention.output.dense",
        context_norm: "attention.output.LayerNorm",
        wide: "intermediate.dense",
        narrow: "output.dense",
        output_norm: "output.LayerNorm",
    };
}

impl Transformer {
    /// All layers. `bias`, `[heads, S, S]`, is added to the scores of every attention.
    pub(crate) fn layers(&mut self, names: &LayerNames, x: ValueId, bias: Option<ValueId>) -> ValueId {
        (0..self.sizes.layers).fold(x, |x, index| self.layer(names, index, x, bias))
    }

    fn layer(&mut self, names: &LayerNames, index: usize, x: ValueId, bias: Option<ValueId>) -> ValueId {
        let hidden = self.sizes.hidden;
        let name = |part: &str| format!("{}.{index}.{part}", names.layers);
        let beside = |part: &str, what: &str| format!("{}.{what}", parent(&name(part)));

        let projections =
            [names.query, names.key, names.value].map(|part| self.linear(&name(part), x, hidden, hidden));
        let attended = self.attention(&beside(names.query, "context"), projections, bias);
        self.after_attention(names, index, x, attended)
    }

    /// The rest of layer `index`, whose input is `x` and whose attention gave `attended`.
    pub(crate) fn after_attention(
        &mut self,
        names: &LayerNames,
        index: usize,
        x: ValueId,
        attended: ValueId,
    ) -> ValueId {
        let sizes = self.sizes;
        let (hidden, wide) = (sizes.hidden, sizes.intermediate);
        let name = |part: &str| format!("{}.{index}.{part}", names.layers);
        let beside = |part: &str, what: &str| format!("{}.{what}", parent(&name(part)));

        let projected = self.linear(&name(names.context), attended, hidden, hidden);
        let ratio = sizes.attention_dropout;
        let dropped = self.dropout(&beside(names.context, "dropout"), projected, ratio);
        let sum = self.standard("Add", &beside(names.context, "sum"), &[dropped, x]);
        let y = self.layer_norm(&name(names.context_norm), sum, hidden);

        let widened = self.linear(&name(names.wide), y, hidden, wide);
        let active = self.gelu(&beside(names.wide, "gelu"), widened);
        let narrowed = self.linear(&name(names.narrow), active, wide, hidden);
        let dropped = self.dropout(&beside(names.narrow, "dropout"), narrowed, sizes.dropout);
        let sum = self.standard("Add", &beside(names.narrow, "sum"), &[dropped, y]);
        self.layer_norm(&name(names.output_norm), sum, hidden)
    }

    /// Multi-head attention over what is no padding. `bias` is added to the scores.
    pub(crate) fn attention(
        &mut self,
        name: &str,
        projections: [ValueId; 3],
        bias: Option<ValueId>,
    ) -> ValueId {
        let width = (self.sizes.hidden / self.sizes.heads) as f32;
        self.scaled_attention(name, projections, bias, width.sqrt().recip())
    }

    /// The same with a factor of its own on the scores.
    pub(crate) fn scaled_attention(
        &mut self,
        name: &str,
        projections: [ValueId; 3],
        bias: Option<ValueId>,
        scale: f32,
    ) -> ValueId {
        let attributes =
            [("num_heads", Attribute::Int(self.sizes.heads as i64)), ("scale", Attribute::Float(scale))];
        let inputs: Vec<ValueId> = projections.into_iter().chain([self.mask]).chain(bias).collect();
        self.patch.node(OpName::refit("Attention"), name, &inputs, attributes)
    }
}

/// The module that holds a module.
fn parent(module: &str) -> &str {
    module.rsplit_once('.').map_or(module, |(parent, _)| parent)
}
