//! Weights that pruning set to zero stay zero.
//!
//! Such a weight gets no gradient. So its moments stay 0, and AdamW, its decay and the moving average leave exactly 0
//! of it. Which weights these are shows in the weights themselves, so that a checkpoint holds nothing of it. A weight
//! that passes through 0 on its way loses the gradient of one step, and goes on by its moments.

use candle_core::Tensor;
use refit_autodiff::{AutodiffError, Gradients, Program};
use refit_graph::{Graph, ValueId};
use refit_ops::kernels::slices;
use refit_passes::edit::PruneWeights;
use refit_spec::TrainSpec;

/// The trainable weights whose zeros are kept.
pub struct KeptZeros {
    ids: Vec<ValueId>,
}

impl KeptZeros {
    /// Those of every layer where the spec prunes weights, else none. `graph` is the one that `program` was made of.
    pub fn new(program: &Program, graph: &Graph, spec: &TrainSpec) -> Self {
        if spec.prune.is_none_or(|prune| prune.weights == 0.0) {
            return Self { ids: Vec::new() };
        }
        let layers = PruneWeights::layers(graph);
        let trained = program.parameters().iter().map(|parameter| parameter.id);
        Self { ids: trained.filter(|id| layers.contains(id)).collect() }
    }

    /// Takes the gradients of weights that are 0 away, before their norm is taken.
    ///
    /// # Errors
    /// When a gradient does not have the shape of its parameter.
    pub fn keep(&self, program: &Program, gradients: &mut Gradients) -> Result<(), AutodiffError> {
        for id in &self.ids {
            let Some(gradient) = gradients.get(*id) else { continue };
            let left = left(program.parameter(*id)?, &gradient.to_tensor()?)?;
            gradients.set(*id, left);
        }
        Ok(())
    }
}

/// The gradient of weights that are not 0, and 0 of those that are.
fn left(weights: &Tensor, gradient: &Tensor) -> candle_core::Result<Tensor> {
    if !slices::is_cpu_f32(gradient) {
        return left_on_device(weights, gradient);
    }
    let left = slices::with(weights, |weights| {
        slices::with(gradient, |gradient| {
            let pairs = weights.iter().zip(gradient);
            pairs.map(|(weight, gradient)| if *weight == 0.0 { 0.0 } else { *gradient }).collect::<Vec<f32>>()
        })
    })??;
    Tensor::from_vec(left, gradient.shape(), gradient.device())
}

/// The same by the device's own operations.
fn left_on_device(weights: &Tensor, gradient: &Tensor) -> candle_core::Result<Tensor> {
    gradient * weights.ne(0f64)?.to_dtype(gradient.dtype())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::averaging::Average;
    use crate::optimizer::AdamW;
    use candle_core::Device;
    use refit_autodiff::Mode;
    use refit_graph::{Attribute, DType, Dim, Fact, HostTensor, Model, OpName, Patch};
    use refit_passes::Driver;
    use refit_spec::Spec;
    use std::collections::HashMap;
    use std::path::Path;

    const SHARE: f64 = 0.6;

    /// Two linear layers, of which the second is a head.
    fn network() -> Model {
        let mut model = Model::new(Graph::new("perceptron"), 21);
        let mut patch = Patch::new(&model.graph);
        let batch = || Dim::Symbol("batch".to_owned());
        let mut value = patch.input("x", Fact::new(DType::F32, [batch(), 5.into()]));
        for (name, shape) in [("layer.0", [8, 5]), ("classifier", [3, 8])] {
            let weights: Vec<f32> =
                (0..shape[0] * shape[1]).map(|place| (1.7 * (place + 1) as f32).sin()).collect();
            let weight = HostTensor::from_f32(&shape, &weights);
            let weight = patch.initializer(&format!("{name}.weight"), weight, true);
            let bias = HostTensor::from_f32(&shape[..1], &vec![0.1; shape[0]]);
            let bias = patch.initializer(&format!("{name}.bias"), bias, true);
            let transposed = [("transB", Attribute::Int(1))];
            value = patch.node(OpName::refit("Linear"), name, &[value, weight, bias], transposed);
        }
        let labels = patch.input("labels", Fact::new(DType::I64, [batch()]));
        let loss = patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[value, labels], []);
        patch.set_outputs(vec![loss]);
        patch.apply(&mut model.graph).expect("the graph is sound");
        Driver::new().edit(&mut model, &PruneWeights { share: SHARE }).expect("it has a layer");
        model
    }

    fn spec(prune: &str) -> TrainSpec {
        let text = format!(
            "[model]\nname = \"m\"\nbase = \"file:base\"\n[data]\ntrain = \"rows.csv\"\n[train]\n{prune}\n"
        );
        Spec::parse(&text, Path::new(".")).expect("a spec").train
    }

    /// Zeros of the weights of the layer and of the head after some steps, of the weights and of their average.
    fn zeros_after_training(spec: &TrainSpec) -> [[usize; 2]; 2] {
        let model = network();
        let mut program = Program::compile(&model, &["loss"], &Device::Cpu).expect("it compiles");
        let kept = KeptZeros::new(&program, &model.graph, spec);
        let mut optimizer = AdamW::new(&program, 0.1).expect("memory");
        let mut average = Average::new(0.9);
        let x: Vec<f32> = (0..20).map(|place| (0.9 * place as f32).cos()).collect();
        let inputs = HashMap::from([
            ("x".to_owned(), Tensor::from_vec(x, (4, 5), &Device::Cpu).expect("it fits")),
            ("labels".to_owned(), Tensor::new(&[0i64, 1, 2, 1], &Device::Cpu).expect("it fits")),
        ]);
        for step in 0..20 {
            let forward = program.forward(&inputs, Mode::Train { seed: step }).expect("a loss");
            let one = HashMap::from([("loss".to_owned(), Tensor::new(1f32, &Device::Cpu).expect("one"))]);
            let mut gradients = program.backward(forward, one).expect("gradients");
            kept.keep(&program, &mut gradients).expect("the shapes are those of the parameters");
            optimizer.step(&mut program, &gradients, 1e-2, 1.0).expect("a step");
            average.update(&mut program).expect("an average");
        }
        let count = |program: &Program, name: &str| {
            let parameter = program.parameters().iter().find(|parameter| parameter.name == name);
            let values = program.parameter(parameter.expect("a parameter").id).expect("its values");
            let values: Vec<f32> = values.flatten_all().and_then(|flat| flat.to_vec1()).expect("floats");
            values.iter().filter(|value| **value == 0.0).count()
        };
        let counts =
            |program: &Program| ["layer.0.weight", "classifier.weight"].map(|name| count(program, name));
        let last = counts(&program);
        average.swap(&mut program).expect("it was updated");
        [last, counts(&program)]
    }

    #[test]
    fn what_is_zero_stays_zero_in_weights_and_average() {
        let pruned = (SHARE * 40.0) as usize;
        let asked = spec("prune = { weights = 0.6 }");
        assert_eq!(zeros_after_training(&asked), [[pruned, 0]; 2]);
        assert_eq!(zeros_after_training(&spec("epochs = 1"))[0], [0, 0], "without it they learn again");
    }

    #[test]
    fn a_device_masks_as_the_processor_does() {
        let weights = Tensor::new(&[[0f32, 1.0], [-2.0, -0.0]], &Device::Cpu).expect("it fits");
        let gradient = Tensor::new(&[[5f32, 6.0], [7.0, 8.0]], &Device::Cpu).expect("it fits");
        let expected = vec![vec![0f32, 6.0], vec![7.0, 0.0]];
        let found = [left(&weights, &gradient), left_on_device(&weights, &gradient)];
        for found in found {
            assert_eq!(found.and_then(|left| left.to_vec2::<f32>()).expect("floats"), expected);
        }
    }
}
