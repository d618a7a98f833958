//! A BERT classifier as a graph of canonical operators, with Hugging Face's parameter names.

use refit_graph::{Attribute, DType, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};

/// Sizes of a BERT.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names are Hugging Face's")]
pub struct Config {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub num_labels: usize,
    pub layer_norm_eps: f32,
}

/// Builds `input_ids`, `attention_mask`, `token_type_ids` -> `logits`, as `BertForSequenceClassification`
/// does. `parameter` supplies the elements of a parameter by name and shape.
pub fn classifier(config: Config, parameter: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>) -> Model {
    let mut graph = Graph::new("bert");
    let fact = || Fact::new(DType::I64, ["batch", "sequence"]);
    let [ids, mask, types] =
        ["input_ids", "attention_mask", "token_type_ids"].map(|name| graph.add_input(name, fact()));
    let mut bert = Builder { patch: Patch::new(&graph), config, parameter };

    let embedded = bert.embeddings(ids, types);
    let bias = bert.attention_bias(mask);
    let encoded =
        (0..config.num_hidden_layers).fold(embedded, |hidden, layer| bert.layer(hidden, bias, layer));
    let first = bert.integer(&[], &[0]);
    let first = bert.standard("Gather", &[encoded, first], [("axis", Attribute::Int(1))]);
    let h = config.hidden_size;
    let pooled = bert.linear("bert.pooler.dense", first, h, h);
    let pooled = bert.standard("Tanh", &[pooled], []);
    let logits = bert.linear("classifier", pooled, h, config.num_labels);
    let logits = bert.patch.node(OpName::standard("Identity"), "logits", &[logits], []);
    bert.patch.set_outputs(vec![logits]);
    bert.patch.apply(&mut graph).expect("a fresh graph takes its patch");
    Model::new(graph, 17)
}

struct Builder<'a> {
    patch: Patch,
    config: Config,
    parameter: &'a mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
}

type Attributes<const N: usize> = [(&'static str, Attribute); N];

impl Builder<'_> {
    fn embeddings(&mut self, ids: ValueId, types: ValueId) -> ValueId {
        let Config { vocab_size, hidden_size: h, max_position_embeddings, .. } = self.config;
        let table = |name: &str| format!("bert.embeddings.{name}.weight");
        let words = self.trained(&table("word_embeddings"), &[vocab_size, h]);
        let positions = self.trained(&table("position_embeddings"), &[max_position_embeddings, h]);
        let kinds = self.trained(&table("token_type_embeddings"), &[2, h]);
        let words = self.standard("Gather", &[words, ids], []);
        let kinds = self.standard("Gather", &[kinds, types], []);

        let shape = self.standard("Shape", &[ids], []);
        let [zero, one] = [0, 1].map(|n| self.integer(&[], &[n]));
        let length = self.standard("Gather", &[shape, one], []);
        let range = self.standard("Range", &[zero, length, one], []);
        let positions = self.standard("Gather", &[positions, range], []);

        let sum = self.standard("Add", &[words, kinds], []);
        let sum = self.standard("Add", &[sum, positions], []);
        self.layer_norm("bert.embeddings.LayerNorm", sum)
    }

    /// 0 where the mask is 1, a large negative number where it is 0; [batch, 1, 1, sequence].
    fn attention_bias(&mut self, mask: ValueId) -> ValueId {
        let mask = self.standard("Cast", &[mask], [("to", Attribute::Int(1))]);
        let one = self.float(1.0);
        let large = self.float(-1e4);
        let hidden = self.standard("Sub", &[one, mask], []);
        let bias = self.standard("Mul", &[hidden, large], []);
        let axes = self.integer(&[2], &[1, 2]);
        self.standard("Unsqueeze", &[bias, axes], [])
    }

    fn layer(&mut self, hidden: ValueId, bias: ValueId, layer: usize) -> ValueId {
        let Config { hidden_size: h, intermediate_size, num_attention_heads, .. } = self.config;
        let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        let [q, k, v] = ["query", "key", "value"]
            .map(|part| self.linear(&name(&format!("attention.self.{part}")), hidden, h, h));
        let heads = Attribute::Int(num_attention_heads as i64);
        let context = self.refit("Attention", &[q, k, v, bias], [("num_heads", heads)]);
        let context = self.linear(&name("attention.output.dense"), context, h, h);
        let sum = self.standard("Add", &[context, hidden], []);
        let attended = self.layer_norm(&name("attention.output.LayerNorm"), sum);
        let wide = self.linear(&name("intermediate.dense"), attended, h, intermediate_size);
        let wide = self.refit("Gelu", &[wide], []);
        let narrow = self.linear(&name("output.dense"), wide, intermediate_size, h);
        let sum = self.standard("Add", &[narrow, attended], []);
        self.layer_norm(&name("output.LayerNorm"), sum)
    }

    fn linear(&mut self, name: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let weight = self.trained(&format!("{name}.weight"), &[outputs, inputs]);
        let bias = self.trained(&format!("{name}.bias"), &[outputs]);
        self.refit("Linear", &[x, weight, bias], [("transB", Attribute::Int(1))])
    }

    fn layer_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        let gamma = self.trained(&format!("{name}.weight"), &[self.config.hidden_size]);
        let beta = self.trained(&format!("{name}.bias"), &[self.config.hidden_size]);
        let epsilon = Attribute::Float(self.config.layer_norm_eps);
        self.refit("LayerNorm", &[x, gamma, beta], [("epsilon", epsilon)])
    }

    fn trained(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let values = (self.parameter)(name, shape);
        self.patch.initializer(name, HostTensor::from_f32(shape, &values), true)
    }

    fn integer(&mut self, shape: &[usize], values: &[i64]) -> ValueId {
        self.patch.initializer("integer", HostTensor::from_i64(shape, values), false)
    }

    fn float(&mut self, value: f32) -> ValueId {
        self.patch.initializer("float", HostTensor::from_f32(&[], &[value]), false)
    }

    fn standard<const N: usize>(&mut self, op: &str, inputs: &[ValueId], with: Attributes<N>) -> ValueId {
        self.patch.node(OpName::standard(op), op, inputs, with)
    }

    fn refit<const N: usize>(&mut self, op: &str, inputs: &[ValueId], with: Attributes<N>) -> ValueId {
        self.patch.node(OpName::refit(op), op, inputs, with)
    }
}
