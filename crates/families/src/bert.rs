//! BERT (Devlin et al. 2018) as Hugging Face stores it, without its pooler.
//!
//! ```text
//! input_ids ----> word table ---------+
//! token_type_ids > type table --------+-> LayerNorm -> Dropout -> layer 0 -> ... -> last_hidden_state
//! 0..sequence --> position table -----+
//! attention_mask -> 0 where a token is, the lowest float32 where padding is --> every attention
//! ```
//!
//! Dropout stands after the embeddings and after the two projections of each layer.
//! `attention_probs_dropout_prob` is not applied (attention is one fused operator) and is reported among
//! [`crate::Base::ignored_settings`].

use crate::{Encoder, Family, FamilyError, HIDDEN_STATE, Pooling, config::Config, weights::Weights};
use refit_graph::{
    Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, REFIT_DOMAIN, ValueId,
};

pub(crate) const FAMILY: Family = Family { name: "bert", build };

/// Tensors of checkpoints that the encoder does not need: buffers and the heads of other tasks.
const IGNORED: [&str; 5] = ["embeddings.position_ids", "pooler.", "cls.", "classifier.", "dropout."];

const OPSET: i64 = 17;

/// The sizes and rates of one BERT.
struct Shape {
    vocabulary: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    intermediate: usize,
    positions: usize,
    types: usize,
    epsilon: f32,
    gelu: &'static str,
    hidden_dropout: f32,
}

impl Shape {
    fn read(config: &Config) -> Result<Self, FamilyError> {
        config.require(&[
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        ])?;
        refuse_variants(config)?;
        let hidden = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        if !hidden.is_multiple_of(heads) {
            return Err(config.bad("num_attention_heads", &format!("a divisor of hidden_size ({hidden})")));
        }
        let gelu = match config.optional::<String>("hidden_act")?.as_deref() {
            None | Some("gelu") => "none",
            Some("gelu_new" | "gelu_pytorch_tanh") => "tanh",
            Some(_) => {
                return Err(config.bad("hidden_act", "\"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\""));
            }
        };
        let epsilon = config.optional::<f32>("layer_norm_eps")?.unwrap_or(1e-12);
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(config.bad("layer_norm_eps", "above 0 and below 1"));
        }
        Ok(Self {
            vocabulary: config.size("vocab_size")?,
            hidden,
            layers: layers(config)?,
            heads,
            intermediate: config.size("intermediate_size")?,
            positions: config.size("max_position_embeddings")?,
            types: if config.optional::<usize>("type_vocab_size")?.is_some() {
                config.size("type_vocab_size")?
            } else {
                2
            },
            epsilon,
            gelu,
            hidden_dropout: config.probability("hidden_dropout_prob", 0.1)?,
        })
    }
}

/// Number of layers, bounded: each one becomes nodes of the graph before any weight is looked at.
fn layers(config: &Config) -> Result<usize, FamilyError> {
    const MOST: usize = 1024;
    match config.size("num_hidden_layers")? {
        layers if layers <= MOST => Ok(layers),
        _ => Err(config.bad("num_hidden_layers", "a whole number from 1 to 1024")),
    }
}

/// Settings of `BertConfig` that would make another graph than the one built here.
fn refuse_variants(config: &Config) -> Result<(), FamilyError> {
    let positions = config.optional::<String>("position_embedding_type")?;
    if positions.is_some_and(|kind| kind != "absolute") {
        return Err(
            config.bad("position_embedding_type", "\"absolute\": relative positions are not supported")
        );
    }
    for key in ["is_decoder", "add_cross_attention"] {
        if config.optional::<bool>(key)?.unwrap_or(false) {
            return Err(config.bad(key, "false: only encoders are supported"));
        }
    }
    Ok(())
}

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    let shape = Shape::read(config)?;
    weights.strip_prefix("bert.");
    // Old TensorFlow checkpoints name the parameters of LayerNorm so; Hugging Face renames them too.
    weights.rename_suffix(".LayerNorm.gamma", ".LayerNorm.weight");
    weights.rename_suffix(".LayerNorm.beta", ".LayerNorm.bias");

    let mut graph = Graph::new("bert");
    let ids = || Fact::new(DType::I64, [Dim::from("batch"), Dim::from("sequence")]);
    let inputs = Inputs {
        ids: graph.add_input("input_ids", ids()),
        mask: graph.add_input("attention_mask", ids()),
        types: graph.add_input("token_type_ids", ids()),
    };
    let mut builder = Builder { patch: Patch::new(&graph), weights, shape };
    let mask = builder.mask(inputs.mask);
    let mut hidden = builder.embeddings(&inputs);
    for layer in 0..builder.shape.layers {
        hidden = builder.layer(layer, hidden, mask);
    }
    let Builder { mut patch, weights, shape } = builder;
    weights.finish(&IGNORED)?;
    patch.set_outputs(vec![hidden]);
    patch.rename(hidden, HIDDEN_STATE);
    let dims = [Dim::from("batch"), Dim::from("sequence"), Dim::from(shape.hidden)];
    patch.set_fact(hidden, Fact::new(DType::F32, dims));
    patch.apply(&mut graph)?;

    let mut model = Model::new(graph, OPSET);
    model.opsets.insert(REFIT_DOMAIN.to_owned(), 1);
    Ok(Encoder {
        model,
        hidden_size: shape.hidden,
        num_layers: shape.layers,
        max_positions: shape.positions,
        pooling: Pooling::Cls,
    })
}

struct Inputs {
    ids: ValueId,
    mask: ValueId,
    types: ValueId,
}

struct Builder {
    patch: Patch,
    weights: Weights,
    shape: Shape,
}

impl Builder {
    /// i64 `[B, S]` of ones and zeros -> additive float32 `[B, 1, 1, S]`.
    fn mask(&mut self, mask: ValueId) -> ValueId {
        let axes = self.patch.initializer("mask.axes", HostTensor::from_i64(&[2], &[1, 2]), false);
        let one = self.patch.initializer("mask.one", HostTensor::from_f32(&[], &[1.0]), false);
        let lowest = self.patch.initializer("mask.lowest", HostTensor::from_f32(&[], &[f32::MIN]), false);
        let wide = self.standard("Unsqueeze", "mask.unsqueezed", &[mask, axes]);
        let to = Attribute::Int(DType::F32.to_onnx().into());
        let float = self.patch.node(OpName::standard("Cast"), "mask.float", &[wide], [("to", to)]);
        let padding = self.standard("Sub", "mask.padding", &[one, float]);
        self.standard("Mul", "mask.additive", &[padding, lowest])
    }

    fn embeddings(&mut self, inputs: &Inputs) -> ValueId {
        let Shape { vocabulary, hidden, positions, types, hidden_dropout, .. } = self.shape;
        let words = self.parameter("embeddings.word_embeddings.weight", &[vocabulary, hidden]);
        let positions = self.parameter("embeddings.position_embeddings.weight", &[positions, hidden]);
        let types = self.parameter("embeddings.token_type_embeddings.weight", &[types, hidden]);

        let words = self.standard("Gather", "embeddings.words", &[words, inputs.ids]);
        let types = self.standard("Gather", "embeddings.types", &[types, inputs.types]);
        let sum = self.standard("Add", "embeddings.words_and_types", &[words, types]);

        // Positions count from zero in every row: rows 0..sequence of their table, for the whole batch.
        let from_second = [("start", Attribute::Int(1)), ("end", Attribute::Int(2))];
        let length =
            self.patch.node(OpName::standard("Shape"), "embeddings.sequence", &[inputs.ids], from_second);
        let zero = self.patch.initializer("embeddings.zero", HostTensor::from_i64(&[1], &[0]), false);
        let rows = self.standard("Slice", "embeddings.positions", &[positions, zero, length, zero]);
        let sum = self.standard("Add", "embeddings.sum", &[sum, rows]);

        let normed = self.layer_norm("embeddings.LayerNorm", sum);
        self.dropout("embeddings.dropout", normed, hidden_dropout)
    }

    fn layer(&mut self, index: usize, x: ValueId, mask: ValueId) -> ValueId {
        let Shape { hidden, intermediate, hidden_dropout, .. } = self.shape;
        let name = |part: &str| format!("encoder.layer.{index}.{part}");

        let context = self.attention(&name("attention.self"), x, mask);
        let projected = self.linear(&name("attention.output.dense"), context, hidden, hidden);
        let dropped = self.dropout(&name("attention.output.dropout"), projected, hidden_dropout);
        let sum = self.standard("Add", &name("attention.output.sum"), &[dropped, x]);
        let attended = self.layer_norm(&name("attention.output.LayerNorm"), sum);

        let wide = self.linear(&name("intermediate.dense"), attended, hidden, intermediate);
        let approximate = Attribute::String(self.shape.gelu.into());
        let active = self.patch.node(
            OpName::refit("Gelu"),
            &name("intermediate.gelu"),
            &[wide],
            [("approximate", approximate)],
        );
        let narrow = self.linear(&name("output.dense"), active, intermediate, hidden);
        let dropped = self.dropout(&name("output.dropout"), narrow, hidden_dropout);
        let sum = self.standard("Add", &name("output.sum"), &[dropped, attended]);
        self.layer_norm(&name("output.LayerNorm"), sum)
    }

    fn attention(&mut self, module: &str, x: ValueId, mask: ValueId) -> ValueId {
        let Shape { hidden, heads, .. } = self.shape;
        let [query, key, value] =
            ["query", "key", "value"].map(|part| self.linear(&format!("{module}.{part}"), x, hidden, hidden));
        let width = (hidden / heads) as f32;
        let attributes =
            [("num_heads", Attribute::Int(heads as i64)), ("scale", Attribute::Float(width.sqrt().recip()))];
        let inputs = [query, key, value, mask];
        self.patch.node(OpName::refit("Attention"), &format!("{module}.context"), &inputs, attributes)
    }

    fn linear(&mut self, module: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let weight = self.parameter(&format!("{module}.weight"), &[outputs, inputs]);
        let bias = self.parameter(&format!("{module}.bias"), &[outputs]);
        let transposed = [("transB", Attribute::Int(1))];
        self.patch.node(OpName::refit("Linear"), module, &[x, weight, bias], transposed)
    }

    fn layer_norm(&mut self, module: &str, x: ValueId) -> ValueId {
        let size = [self.shape.hidden];
        let gamma = self.parameter(&format!("{module}.weight"), &size);
        let beta = self.parameter(&format!("{module}.bias"), &size);
        let epsilon = [("epsilon", Attribute::Float(self.shape.epsilon))];
        self.patch.node(OpName::refit("LayerNorm"), module, &[x, gamma, beta], epsilon)
    }

    fn dropout(&mut self, name: &str, x: ValueId, ratio: f32) -> ValueId {
        if ratio == 0.0 {
            return x;
        }
        self.patch.node(OpName::refit("Dropout"), name, &[x], [("ratio", Attribute::Float(ratio))])
    }

    fn standard(&mut self, op: &str, name: &str, inputs: &[ValueId]) -> ValueId {
        self.patch.node(OpName::standard(op), name, inputs, [])
    }

    fn parameter(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let tensor = self.weights.take(name, shape);
        self.patch.initializer(name, tensor, true)
    }
}
