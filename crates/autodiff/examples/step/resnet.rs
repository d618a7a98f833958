//! Convolutional networks of the bench: one with the shape of ResNet-18 (He et al. 2015), and one depthwise
//! convolution alone.

use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};

/// Channels of the four stages, each of two blocks.
const STAGES: [usize; 4] = [64, 128, 256, 512];

/// `image` (float32 `[batch, 3, size, size]`) -> `logits` over `classes`, batch norm with the batch's own
/// statistics. `parameter` supplies the elements of a parameter by name and shape.
pub fn classifier(
    batch: usize,
    size: usize,
    classes: usize,
    parameter: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
) -> Model {
    let mut graph = Graph::new("resnet");
    let shape = [batch, 3, size, size].map(Dim::Known);
    let image = graph.add_input("image", Fact::new(DType::F32, shape));
    let mut net = Builder { patch: Patch::new(&graph), parameter };
    let stem = net.convolution("stem", image, [3, 64], 7, 2);
    let stem = net.relu(stem);
    let windows = [
        ("kernel_shape", Attribute::Ints(vec![3, 3])),
        ("strides", Attribute::Ints(vec![2, 2])),
        ("pads", Attribute::Ints(vec![1; 4])),
    ];
    let mut hidden = net.patch.node(OpName::standard("MaxPool"), "pool", &[stem], windows);
    let mut before = 64;
    for (stage, channels) in STAGES.into_iter().enumerate() {
        for block in 0..2 {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            hidden = net.block(&format!("{stage}.{block}"), hidden, [before, channels], stride);
            before = channels;
        }
    }
    let pooled = net.patch.node(OpName::standard("GlobalAveragePool"), "pooled", &[hidden], []);
    let flat = net.patch.node(OpName::standard("Flatten"), "flat", &[pooled], []);
    let weight = net.trained("head.weight", &[classes, 512]);
    let bias = net.trained("head.bias", &[classes]);
    let transposed = [("transB", Attribute::Int(1))];
    let logits = net.patch.node(OpName::refit("Linear"), "logits", &[flat, weight, bias], transposed);
    net.finish(logits, &mut graph)
}

/// A depthwise 3 x 3 convolution of a trainable image, so that both gradients are computed; output `logits`.
pub fn depthwise(shape: [usize; 4], parameter: &mut dyn FnMut(&str, &[usize]) -> Vec<f32>) -> Model {
    let mut graph = Graph::new("depthwise");
    let mut net = Builder { patch: Patch::new(&graph), parameter };
    let image = net.trained("image", &shape);
    let weight = net.trained("weight", &[shape[1], 1, 3, 3]);
    let attributes = [("group", Attribute::Int(shape[1] as i64)), ("pads", Attribute::Ints(vec![1; 4]))];
    let logits = net.patch.node(OpName::standard("Conv"), "logits", &[image, weight], attributes);
    net.finish(logits, &mut graph)
}

struct Builder<'a> {
    patch: Patch,
    parameter: &'a mut dyn FnMut(&str, &[usize]) -> Vec<f32>,
}

impl Builder<'_> {
    fn block(&mut self, name: &str, x: ValueId, [inputs, outputs]: [usize; 2], stride: i64) -> ValueId {
        let first = self.convolution(&format!("{name}.a"), x, [inputs, outputs], 3, stride);
        let first = self.relu(first);
        let second = self.convolution(&format!("{name}.b"), first, [outputs, outputs], 3, 1);
        let shortcut = match inputs == outputs && stride == 1 {
            true => x,
            false => self.convolution(&format!("{name}.shortcut"), x, [inputs, outputs], 1, stride),
        };
        let sum = self.patch.node(OpName::standard("Add"), "sum", &[second, shortcut], []);
        self.relu(sum)
    }

    /// A convolution without bias, and batch norm.
    fn convolution(
        &mut self,
        name: &str,
        x: ValueId,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: i64,
    ) -> ValueId {
        let weight = self.trained(&format!("{name}.weight"), &[outputs, inputs, kernel, kernel]);
        let attributes = [
            ("strides", Attribute::Ints(vec![stride; 2])),
            ("pads", Attribute::Ints(vec![kernel as i64 / 2; 4])),
        ];
        let y = self.patch.node(OpName::standard("Conv"), name, &[x, weight], attributes);
        let scale = self.trained(&format!("{name}.scale"), &[outputs]);
        let bias = self.trained(&format!("{name}.bias"), &[outputs]);
        let mut fixed = |value: f32| {
            let tensor = HostTensor::from_f32(&[outputs], &vec![value; outputs]);
            self.patch.initializer("statistic", tensor, false)
        };
        let (mean, variance) = (fixed(0.0), fixed(1.0));
        let training = [("training_mode", Attribute::Int(1))];
        let inputs = [y, scale, bias, mean, variance];
        self.patch.node(OpName::standard("BatchNormalization"), name, &inputs, training)
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        self.patch.node(OpName::standard("Relu"), "relu", &[x], [])
    }

    fn trained(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let values = (self.parameter)(name, shape);
        self.patch.initializer(name, HostTensor::from_f32(shape, &values), true)
    }

    fn finish(mut self, logits: ValueId, graph: &mut Graph) -> Model {
        self.patch.set_outputs(vec![logits]);
        self.patch.apply(graph).expect("a fresh graph takes its patch");
        Model::new(std::mem::replace(graph, Graph::new("")), 17)
    }
}
