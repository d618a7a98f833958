//! How much a row of each label weighs in the loss.

use crate::TrainError;
use crate::examples::Examples;
use refit_graph::{HostTensor, Model, Patch};
use refit_passes::{Edit, PassError, Tolerance};
use refit_spec::{ClassWeights, nearest};

/// One weight a label, in their order; none where all weigh alike.
///
/// # Errors
/// When a table names a label that the data do not have, or rows do not have one label each.
pub fn class_weights(
    weights: &ClassWeights,
    labels: &[String],
    train: &Examples,
) -> Result<Option<Vec<f32>>, TrainError> {
    let weights = match weights {
        ClassWeights::None => return Ok(None),
        ClassWeights::Balanced => {
            let needs = "tasks with one label a row";
            let classes = train.classes().ok_or(TrainError::NotForTask { key: "class_weights", needs })?;
            let mut rows = vec![0usize; labels.len()];
            classes.iter().for_each(|&class| rows[class as usize] += 1);
            let present = rows.iter().filter(|&&rows| rows > 0).count();
            // A label without a row is in no target: its weight only has to be finite.
            let weight = |&rows: &usize| classes.len() as f32 / (present * rows.max(1)) as f32;
            rows.iter().map(weight).collect()
        }
        ClassWeights::Table(table) => {
            if let Some(label) = table.keys().find(|label| !labels.contains(label)) {
                let near = nearest(label, labels.iter().map(String::as_str)).map(String::from);
                return Err(TrainError::ClassWeight { label: label.clone(), known: labels.join(", "), near });
            }
            labels.iter().map(|name| table.get(name).map_or(1.0, |weight| *weight as f32)).collect()
        }
    };
    Ok(Some(weights))
}

/// Gives the loss its weights.
///
/// ```text
/// logits, labels -> loss    =>    logits, labels, weights -> loss
/// ```
pub struct WeighClasses {
    /// One a label.
    pub weights: Vec<f32>,
}

impl Edit for WeighClasses {
    fn name(&self) -> &'static str {
        "weigh-classes"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let loss = graph.find("loss");
        let maker = loss.and_then(|loss| graph.producers()[loss.index()]).map(|id| graph.node(id));
        let (Some(loss), Some(maker)) = (loss, maker.filter(|node| node.op.is_refit("SoftmaxCrossEntropy")))
        else {
            return Err(PassError::refused(
                "class weights are for single-label classification, whose loss is a cross-entropy: remove train.class_weights",
            ));
        };
        let mut patch = Patch::new(graph);
        let weights = HostTensor::from_f32(&[self.weights.len()], &self.weights);
        let weights = patch.initializer("loss.class_weights", weights, false);
        let mut inputs: Vec<_> = maker.inputs.iter().flatten().copied().collect();
        inputs.push(weights);
        let weighted = patch.node(maker.op.clone(), "loss.weighted", &inputs, []);
        patch.set_attributes(maker.attributes.clone());
        patch.set_fact(weighted, graph.fact(loss).clone());
        let outputs = graph.outputs().iter().map(|id| if *id == loss { weighted } else { *id });
        patch.set_outputs(outputs.collect());
        patch.rename(loss, "loss.unweighted");
        patch.rename(weighted, "loss");
        Ok(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use refit_autodiff::{Mode, Program};
    use refit_graph::{Attribute, DType, Dim, Fact, Graph, OpName};
    use refit_passes::Driver;
    use std::collections::HashMap;

    /// `CrossEntropyLoss(weight=[0.5, 1, 2], label_smoothing=s)` of PyTorch on these logits and labels, by
    /// `tests/reference/class_weights.py`.
    #[test]
    fn the_loss_and_its_gradient_are_those_of_pytorch() {
        let reference: serde_json::Value =
            serde_json::from_str(include_str!("../tests/data/class_weights.json")).expect("json");
        let floats = |value: &serde_json::Value| -> Vec<f32> {
            let values = value.as_array().expect("a list").iter();
            values.map(|value| value.as_f64().expect("a number") as f32).collect()
        };
        let logits = floats(&reference["logits"]);
        let labels: Vec<i64> = serde_json::from_value(reference["labels"].clone()).expect("labels");
        for case in reference["cases"].as_array().expect("cases") {
            let mut model = Model::new(Graph::new("weighted"), 21);
            let mut patch = Patch::new(&model.graph);
            let input = HostTensor::from_f32(&[4, 3], &logits);
            let value = patch.initializer("logits", input, true);
            let targets = patch.input("labels", Fact::new(DType::I64, [Dim::Symbol("batch".to_owned())]));
            let smoothing = Attribute::Float(case["label_smoothing"].as_f64().expect("a number") as f32);
            let op = OpName::refit("SoftmaxCrossEntropy");
            let loss = patch.node(op, "loss", &[value, targets], [("label_smoothing", smoothing)]);
            patch.set_outputs(vec![loss]);
            patch.apply(&mut model.graph).expect("applies");
            let weights = floats(&reference["weight"]);
            Driver::new().edit(&mut model, &WeighClasses { weights }).expect("weighs");
            let device = Device::Cpu;
            let program = Program::compile(&model, &["loss"], &device).expect("compiles");
            let labels = Tensor::from_vec(labels.clone(), 4, &device).expect("labels");
            let inputs = HashMap::from([("labels".to_owned(), labels)]);
            let forward = program.forward(&inputs, Mode::Train { seed: 1 }).expect("runs");
            let found = forward.output("loss").expect("a loss").to_scalar::<f32>().expect("a number");
            let expected = case["loss"].as_f64().expect("a number");
            assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
            let seed = HashMap::from([("loss".to_owned(), Tensor::new(1f32, &device).expect("one"))]);
            let gradients = program.backward(forward, seed).expect("goes back");
            let gradient = gradients.get(program.parameters()[0].id).expect("a gradient").values();
            let gradient = gradient.flatten_all().expect("flat");
            for (found, expected) in
                gradient.to_vec1::<f32>().expect("values").iter().zip(floats(&case["gradient"]))
            {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}
