//! `NegativeLogLikelihoodLoss(log_p, target, weight?)` and `SoftmaxCrossEntropyLoss(scores, target, weight?)`
//! over scores of [batch, classes, positions...]: `-w[c] log p[c]` at each position, its mean weighted by `w`.
//! Positions whose target is `ignore_index` do not count.

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Attribute, Fact, OpName};

/// What the scores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClassLoss {
    LogProbabilities,
    Scores,
}

impl Operator for ClassLoss {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::LogProbabilities => "NegativeLogLikelihoodLoss",
            Self::Scores => "SoftmaxCrossEntropyLoss",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let loss = match reduction(site)? {
            Reduction::None => inputs.fact(1).shape,
            _ => Some(Vec::new()),
        };
        let scores = inputs.fact(0);
        Ok(vec![shaped(scores.dtype, loss), shaped(scores.dtype, scores.shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let targets = Targets::new(site, x.dims(), inputs)?;
        let log_p = self.log_probabilities(x, &targets)?;
        let losses: Vec<f64> = targets
            .places()
            .map(|(place, weight)| if weight == 0.0 { 0.0 } else { -weight * log_p[place] })
            .collect();
        let total: f64 = losses.iter().sum();
        let loss = match reduction(site)? {
            Reduction::None => Tensor::from_vec(losses, site.required(inputs, 1)?.dims(), x.device())?,
            Reduction::Sum => Tensor::new(total, x.device())?,
            Reduction::Mean => Tensor::new(total / targets.weights.iter().sum::<f64>(), x.device())?,
        };
        let mut outputs = vec![loss.to_dtype(x.dtype())?];
        if *self == Self::Scores && site.node.output(1).is_some() {
            outputs.push(Tensor::from_vec(log_p, x.dims(), x.device())?.to_dtype(x.dtype())?);
        }
        Ok(outputs)
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1, 2])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let x = site.required(back.inputs, 0)?;
        let targets = Targets::new(site, x.dims(), back.inputs)?;
        let mut slopes = vec![0.0; x.elem_count()];
        if let Some(gradient) = back.gradients.first().and_then(Option::as_ref) {
            let gradient = host::numbers(gradient)?;
            let divisor = match reduction(site)? {
                Reduction::Mean => targets.weights.iter().sum(),
                _ => 1.0,
            };
            for (position, (place, weight)) in targets.places().enumerate() {
                if weight != 0.0 {
                    slopes[place] -= weight / divisor * gradient[position.min(gradient.len() - 1)];
                }
            }
        }
        if *self == Self::Scores {
            if let Some(gradient) = back.gradients.get(1).and_then(Option::as_ref) {
                slopes.iter_mut().zip(host::numbers(gradient)?).for_each(|(slope, g)| *slope += g);
            }
            // Through the logarithm of the softmax: `g - p * sum(g)`.
            let log_p = self.log_probabilities(x, &targets)?;
            for line in targets.lines() {
                let sum: f64 = line.clone().map(|at| slopes[at]).sum();
                line.for_each(|at| slopes[at] -= log_p[at].exp() * sum);
            }
        }
        let dx = Tensor::from_vec(slopes, x.dims(), x.device())?.to_dtype(x.dtype())?;
        let mut gradients = vec![None; back.input_shapes.len()];
        gradients[0] = Some(dx);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let rows = |what| Problem::new(what).random_in(&[3, 5], -2.0, 2.0).integers(&[3], &[4, 0, 2]);
        let planes = |what| {
            let problem = Problem::new(what).random_in(&[2, 3, 2, 2], -2.0, 2.0);
            problem.integers(&[2, 2, 2], &[0, 1, 2, 2, -1, 0, 1, -1])
        };
        let reduce = |problem: Problem, how: &'static str| {
            problem.attribute("reduction", Attribute::String(how.as_bytes().into()))
        };
        let mut problems = vec![
            rows("rows"),
            reduce(rows("each row"), "none"),
            reduce(rows("a sum with weights").random_in(&[5], 0.5, 1.5), "sum"),
            planes("planes with ignored positions").int("ignore_index", -1),
            planes("weights and ignored positions").random_in(&[3], 0.5, 1.5).int("ignore_index", -1),
        ];
        if *self == Self::Scores {
            problems.push(reduce(rows("with log probabilities").outputs(2), "none"));
        }
        problems
    }
}

impl ClassLoss {
    fn log_probabilities(self, x: &Tensor, targets: &Targets) -> Result<Vec<f64>, OpError> {
        let mut values = host::numbers(x)?;
        if self == Self::Scores {
            for line in targets.lines() {
                let largest = line.clone().map(|at| values[at]).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = line.clone().map(|at| (values[at] - largest).exp()).sum();
                line.for_each(|at| values[at] -= largest + sum.ln());
            }
        }
        Ok(values)
    }
}

enum Reduction {
    None,
    Sum,
    Mean,
}

fn reduction(site: &Site) -> Result<Reduction, OpError> {
    Ok(match site.node.text("reduction").unwrap_or("mean") {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => {
            let why = format!("\"{other}\" is not none, sum or mean");
            return Err(OpError::Attribute { op: site.node.op.clone(), name: "reduction", why });
        }
    })
}

/// The class that is asked for at each position, and what it weighs there.
struct Targets {
    classes: usize,
    positions: usize,
    labels: Vec<usize>,
    weights: Vec<f64>,
}

impl Targets {
    fn new(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let target = site.required(inputs, 1)?;
        let [batch, classes, space @ ..] = x else {
            return Err(site.refuse("scores of batch and classes were expected"));
        };
        if target.dims() != [&[*batch], space].concat() {
            return Err(site.refuse(format!("targets of {:?} for scores of {x:?}", target.dims())));
        }
        let of_class = inputs.get(2).and_then(Option::as_ref).map(host::numbers).transpose()?;
        if of_class.as_ref().is_some_and(|weights| weights.len() != *classes) {
            return Err(site.refuse(format!("there is not one weight for each of {classes} classes")));
        }
        let ignored = site.node.int("ignore_index");
        let (mut labels, mut weights) = (Vec::new(), Vec::new());
        for label in host::integers(target)? {
            if Some(label) == ignored {
                labels.push(0);
                weights.push(0.0);
                continue;
            }
            let class = usize::try_from(label).ok().filter(|class| class < classes);
            let class =
                class.ok_or_else(|| site.refuse(format!("label {label} is none of {classes} classes")))?;
            labels.push(class);
            weights.push(of_class.as_ref().map_or(1.0, |weights| weights[class]));
        }
        Ok(Self { classes: *classes, positions: space.iter().product(), labels, weights })
    }

    /// For each position the place of its class among the scores, and its weight.
    fn places(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.labels.iter().zip(&self.weights).enumerate().map(|(at, (label, weight))| {
            let (image, position) = (at / self.positions, at % self.positions);
            ((image * self.classes + label) * self.positions + position, *weight)
        })
    }

    /// For each position the places of all its classes.
    fn lines(&self) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone + use<>> + '_ {
        let (classes, positions) = (self.classes, self.positions);
        (0..self.labels.len()).map(move |at| {
            let start = at / positions * classes * positions + at % positions;
            (0..classes).map(move |class| start + class * positions)
        })
    }
}
