//! A small convolutional network with what quantization meets in real ones: batch normalization, ReLU, a residual
//! sum, a depthwise convolution, pools, and a linear layer at the end.

use refit_graph::{Attribute, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};

pub struct Network {
    graph: Graph,
    patch: Patch,
    seed: u32,
}

/// Images of 16 x 16 with 3 channels.
pub const IMAGE: [usize; 3] = [3, 16, 16];
pub const CLASSES: usize = 5;

impl Network {
    /// `image` `[batch, 3, 16, 16]` -> `logits` `[batch, 5]`.
    pub fn model() -> Model {
        let mut graph = Graph::new("network");
        let shape = [Dim::from("batch"), IMAGE[0].into(), IMAGE[1].into(), IMAGE[2].into()];
        let image = graph.add_input("image", Fact::new(refit_graph::DType::F32, shape));
        let patch = Patch::new(&graph);
        let mut network = Self { graph, patch, seed: 7 };
        let first = network.block("stem", image, [16, 3, 3, 3], 1);
        let first = network.block("stem2", first, [16, 16, 3, 3], 1);
        let inner = network.block("inner", first, [16, 1, 3, 3], 16);
        let inner = network.convolution("last", inner, [16, 16, 1, 1], 1);
        let sum = network.node("Add", "sum", &[first, inner], []);
        let sum = network.node("Relu", "residual", &[sum], []);
        let two = || Attribute::Ints(vec![2, 2]);
        let window = [("kernel_shape", two()), ("strides", two())];
        let pooled = network.node("MaxPool", "pooled", &[sum], window);
        let wide = network.block("wide", pooled, [32, 16, 3, 3], 1);
        let pooled = network.node("GlobalAveragePool", "mean", &[wide], []);
        let flat = network.node("Flatten", "flat", &[pooled], []);
        let weight = network.weight("head.weight", &[CLASSES * 16, 32]);
        let bias = network.weight("head.bias", &[CLASSES * 16]);
        let hidden = network.node("Gemm", "hidden", &[flat, weight, bias], [("transB", Attribute::Int(1))]);
        let weight = network.weight("classifier.weight", &[CLASSES * 16, CLASSES]);
        let logits = network.node("MatMul", "logits", &[hidden, weight], []);
        network.patch.set_outputs(vec![logits]);
        network.patch.apply(&mut network.graph).unwrap();
        Model::new(network.graph, 17)
    }

    /// `image` `[batch, 1, 16, 16]` of grey -> `logits` `[batch, 8]`: the first convolution's result is read by the next
    /// one and by the sum with it.
    pub fn grey() -> Model {
        let mut graph = Graph::new("grey");
        let shape = [Dim::from("batch"), 1.into(), IMAGE[1].into(), IMAGE[2].into()];
        let image = graph.add_input("image", Fact::new(refit_graph::DType::F32, shape));
        let patch = Patch::new(&graph);
        let mut network = Self { graph, patch, seed: 7 };
        let first = network.convolution("stem", image, [8, 1, 3, 3], 1);
        let first = network.node("Relu", "stem.relu", &[first], []);
        let inner = network.convolution("inner", first, [8, 8, 3, 3], 1);
        let sum = network.node("Add", "sum", &[first, inner], []);
        let sum = network.node("Relu", "residual", &[sum], []);
        let pooled = network.node("GlobalAveragePool", "mean", &[sum], []);
        let logits = network.node("Flatten", "logits", &[pooled], []);
        network.patch.set_outputs(vec![logits]);
        network.patch.apply(&mut network.graph).unwrap();
        Model::new(network.graph, 17)
    }

    /// Convolution, batch normalization and ReLU.
    fn block(&mut self, name: &str, x: ValueId, shape: [usize; 4], group: i64) -> ValueId {
        let x = self.convolution(name, x, shape, group);
        let channels = shape[0];
        let mut statistics = vec![x];
        for (part, offset) in [("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("variance", 1.5)] {
            let values: Vec<f32> = self.random(channels).iter().map(|value| 0.3 * value + offset).collect();
            let tensor = HostTensor::from_f32(&[channels], &values);
            statistics.push(self.patch.initializer(&format!("{name}.{part}"), tensor, false));
        }
        let x = self.node("BatchNormalization", &format!("{name}.norm"), &statistics, []);
        self.node("Relu", &format!("{name}.relu"), &[x], [])
    }

    fn convolution(&mut self, name: &str, x: ValueId, shape: [usize; 4], group: i64) -> ValueId {
        let weight = self.weight(&format!("{name}.weight"), &shape);
        let side = shape[2] as i64 / 2;
        let pads = Attribute::Ints(vec![side; 4]);
        self.node("Conv", name, &[x, weight], [("pads", pads), ("group", Attribute::Int(group))])
    }

    fn node<const N: usize>(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[ValueId],
        attributes: [(&'static str, Attribute); N],
    ) -> ValueId {
        self.patch.node(OpName::standard(op), name, inputs, attributes)
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let fan_in: usize = shape[1..].iter().product::<usize>().max(1);
        let scale = (3.0 / fan_in as f32).sqrt();
        let values: Vec<f32> =
            self.random(shape.iter().product()).iter().map(|value| value * scale).collect();
        self.patch.initializer(name, HostTensor::from_f32(shape, &values), false)
    }

    /// Numbers between -1 and 1.
    fn random(&mut self, count: usize) -> Vec<f32> {
        numbers(&mut self.seed, count)
    }
}

/// Numbers between -1 and 1.
pub fn numbers(seed: &mut u32, count: usize) -> Vec<f32> {
    let mut next = || {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
