//! Mixup of text embeddings (Zhang et al. 2018, arXiv:1710.09412; of sentence vectors: Guo et al. 2019,
//! arXiv:1905.08941): a row is a blend of two, and so is its loss.
//!
//! ```text
//! embedding -> head -> logits        embedding -+-> * weight ------------> Add -> head -> logits
//!                             =>      partner -> Gather -> * (1 - weight) --^
//! logits, labels -> loss             logits, labels          -> loss -> * weight --------> Add -> loss
//!                                    logits, labels[partner] -> loss -> * (1 - weight) -----^
//! ```
//!
//! The partner of a row is another row of its batch, the weight one for the batch. What is exported and
//! evaluated is the graph without the blend: a weight of 1 gives the same bits.

use crate::TrainError;
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use refit_autodiff::Program;
use refit_graph::{DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};
use refit_passes::{Edit, PassError, Tolerance};
use std::collections::HashMap;

/// Input that names each row's partner, i64 `[batch]`.
const PARTNER: &str = "mixup_partner";
/// Input with the weight of the row itself, float32 `[]`.
const WEIGHT: &str = "mixup_weight";

/// Blends `embedding` and `loss`, which the graph must have.
pub struct AddMixup;

impl Edit for AddMixup {
    fn name(&self) -> &'static str {
        "add-mixup"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let missing = |name: &str| {
            PassError::refused(format!(
                "mixup blends pooled embeddings and their losses, and the graph has no value \"{name}\": set train.mixup = 0"
            ))
        };
        let embedding = embedding(graph).ok_or_else(|| missing("embedding"))?;
        let loss = graph.find("loss").ok_or_else(|| missing("loss"))?;
        let producers = graph.producers();
        let maker = producers[loss.index()].map(|id| graph.node(id));
        let maker = maker.filter(|node| node.op.is_refit("SoftmaxCrossEntropy")).ok_or_else(|| {
            PassError::refused(
                "mixup is for single-label classification, whose loss is a cross-entropy: set train.mixup = 0",
            )
        })?;

        let mut patch = Patch::new(graph);
        let partner = patch.input(PARTNER, Fact::new(DType::I64, [Dim::Symbol("batch".to_owned())]));
        let weight = patch.input(WEIGHT, Fact::new(DType::F32, Vec::<Dim>::new()));
        let one = patch.initializer("mixup.one", HostTensor::from_f32(&[], &[1.0]), false);
        let standard = OpName::standard;
        let rest = patch.node(standard("Sub"), "mixup.rest", &[one, weight], []);
        let blend = |own: ValueId, other: ValueId, name: &str, patch: &mut Patch| {
            let own = patch.node(standard("Mul"), &format!("{name}.own"), &[own, weight], []);
            let other = patch.node(standard("Mul"), &format!("{name}.other"), &[other, rest], []);
            patch.node(standard("Add"), name, &[own, other], [])
        };
        let others = patch.node(standard("Gather"), "mixup.partners", &[embedding, partner], []);
        let mixed = blend(embedding, others, "mixup.embedding", &mut patch);

        // Whatever the loss takes of a row beside its logits, it takes of the partner too.
        let mut inputs = Vec::new();
        for (place, input) in maker.inputs.iter().flatten().enumerate() {
            let of_rows = place > 0 && graph.inputs().contains(input);
            inputs.push(match of_rows {
                true => patch.node(standard("Gather"), "mixup.of_partner", &[*input, partner], []),
                false => *input,
            });
        }
        let other_loss = patch.node(maker.op.clone(), "mixup.partner_loss", &inputs, []);
        patch.set_attributes(maker.attributes.clone());
        let total = blend(loss, other_loss, "mixup.loss", &mut patch);
        patch.set_fact(mixed, graph.fact(embedding).clone());
        patch.set_fact(total, graph.fact(loss).clone());
        patch.replace(embedding, mixed);
        let outputs = graph.outputs().iter().map(|id| if *id == loss { total } else { *id });
        patch.set_outputs(outputs.collect());
        patch.rename(loss, "mixup.own_loss");
        patch.rename(total, "loss");
        Ok(patch)
    }
}

/// What the head reads. Where everything before it is frozen that is a cached feature of another name.
fn embedding(graph: &Graph) -> Option<ValueId> {
    let producers = graph.producers();
    let read_by = |value: ValueId| producers[value.index()].map(|id| graph.node(id));
    let pooled = || {
        let read = read_by(graph.find("logits")?)?.input(0)?;
        match read_by(read) {
            Some(node) if node.op.is_refit("Dropout") => node.input(0),
            _ => Some(read),
        }
    };
    graph.find("embedding").or_else(pooled)
}

/// What draws partners and weights.
pub struct Mixup {
    /// Both parameters of the Beta distribution that the weight is drawn from.
    pub alpha: f64,
    /// The run's seed.
    pub seed: u64,
}

impl Mixup {
    /// Adds partners and a weight for a training batch of these `rows`. The same seed, step and rows give the
    /// same draw.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn draw(
        &self,
        rows: &[usize],
        step: usize,
        device: &Device,
        inputs: &mut HashMap<String, Tensor>,
    ) -> Result<(), TrainError> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ 0x6d69_7875_7000_0000);
        // Parts of one accumulated step differ in their rows, so each has a stream of its own.
        let first = rows.first().copied().unwrap_or_default() as u64;
        random.set_stream(((step as u64) << 32) | (first & 0xffff_ffff));
        let mut partners: Vec<i64> = (0..rows.len() as i64).collect();
        partners.shuffle(&mut random);
        insert(&partners, beta(self.alpha, &mut random) as f32, device, inputs)
    }
}

/// Adds to a batch of `rows` rows what leaves it as it is, if `program` blends.
///
/// # Errors
/// When the device has no room.
pub fn unmixed(
    program: &Program,
    rows: usize,
    inputs: &mut HashMap<String, Tensor>,
) -> Result<(), TrainError> {
    if !program.inputs().any(|input| input == PARTNER) {
        return Ok(());
    }
    let themselves: Vec<i64> = (0..rows as i64).collect();
    insert(&themselves, 1.0, program.device(), inputs)
}

fn insert(
    partners: &[i64],
    weight: f32,
    device: &Device,
    inputs: &mut HashMap<String, Tensor>,
) -> Result<(), TrainError> {
    inputs.insert(PARTNER.to_owned(), Tensor::new(partners, device)?);
    inputs.insert(WEIGHT.to_owned(), Tensor::new(weight, device)?);
    Ok(())
}

/// A draw from Beta(alpha, alpha), as the share of one of two gamma variables.
fn beta(alpha: f64, random: &mut ChaCha8Rng) -> f64 {
    let (a, b) = (ln_gamma_variate(alpha, random), ln_gamma_variate(alpha, random));
    // In logarithms: for a small alpha both are often below the smallest double.
    1.0 / (1.0 + (b - a).exp())
}

/// The logarithm of a draw from Gamma(alpha, 1) (Marsaglia and Tsang 2000, with their boost below 1).
fn ln_gamma_variate(alpha: f64, random: &mut ChaCha8Rng) -> f64 {
    if alpha < 1.0 {
        let boost = (1.0 - random.random::<f64>()).ln() / alpha;
        return ln_gamma_variate(alpha + 1.0, random) + boost;
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * random.random::<f64>()).cos();
        let v = (1.0 + c * normal).powi(3);
        if v > 0.0 {
            let bound = 0.5 * normal * normal + d - d * v + d * v.ln();
            if (1.0 - random.random::<f64>()).ln() < bound {
                return (d * v).ln();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean is 1/2 and the variance 1 / (4 (2 alpha + 1)).
    #[test]
    fn weights_have_the_moments_of_their_distribution() {
        for alpha in [0.01, 0.2, 1.0, 4.0] {
            let mut random = ChaCha8Rng::seed_from_u64(3);
            let draws: Vec<f64> = (0..40_000).map(|_| beta(alpha, &mut random)).collect();
            assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)), "alpha {alpha}");
            let mean = draws.iter().sum::<f64>() / 40_000.0;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 40_000.0;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "alpha {alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.03, "alpha {alpha}: {variance} {expected}");
        }
    }

    #[test]
    fn a_step_draws_the_same_again_and_another_differs() {
        let draw = |seed, step| {
            let mut inputs = HashMap::new();
            let mixup = Mixup { alpha: 0.4, seed };
            mixup.draw(&[9, 4, 7, 1, 3, 2, 8, 5], step, &Device::Cpu, &mut inputs).unwrap();
            let partners: Vec<i64> = inputs[PARTNER].to_vec1().unwrap();
            (partners, inputs[WEIGHT].to_scalar::<f32>().unwrap())
        };
        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3), draw(7, 4));
        assert_ne!(draw(7, 3), draw(8, 3));
        let mut partners = draw(7, 3).0;
        partners.sort_unstable();
        assert_eq!(partners, (0..8).collect::<Vec<i64>>());
    }

    #[test]
    fn other_losses_are_refused_with_the_way_out() {
        let mut model = Model::new(Graph::new("regression"), 21);
        let mut patch = Patch::new(&model.graph);
        let x = patch.input("embedding", Fact::new(DType::F32, [Dim::Symbol("batch".to_owned()), 4.into()]));
        let loss = patch.node(OpName::standard("ReduceMean"), "loss", &[x], []);
        patch.set_outputs(vec![loss]);
        patch.apply(&mut model.graph).unwrap();
        let refused = AddMixup.apply(&model).unwrap_err().to_string();
        assert!(
            refused.contains("single-label classification") && refused.contains("train.mixup = 0"),
            "{refused}"
        );
    }
}
