//! `NegativeLogLikelihoodLoss(log_p, target, weight?)` and `SoftmaxCrossEntropyLoss(scores, target, weight?)`
//! over scores of [batch, classes, positions...]: `-w[c] log p[c]` at each position, its mean weighted by `w`.
//! Positions whose target is `ignore_index` do not count.

use crate::kernels::slices;
use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType, Tensor};
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
        if !slices::is_cpu(x) {
            return self.forward_on_device(site, x, inputs);
        }
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
        if !slices::is_cpu(x) {
            let mut gradients = vec![None; back.input_shapes.len()];
            gradients[0] = Some(self.gradient_on_device(site, x, back)?);
            return Ok(gradients);
        }
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
    fn forward_on_device(
        self,
        site: &Site,
        x: &Tensor,
        inputs: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>, OpError> {
        let target = site.required(inputs, 1)?;
        let asked = Asked::new(site, x, inputs)?;
        let log_p = self.log_probabilities_on_device(&asked.rows)?;
        let losses = (log_p.gather(&asked.labels, 1)? * &asked.weights)?.neg()?;
        // A probability of 0 at an ignored position would make it not a number.
        let losses = asked.weights.ne(0f64)?.where_cond(&losses, &losses.zeros_like()?)?;
        let loss = match reduction(site)? {
            Reduction::None => losses.reshape(target.dims())?,
            Reduction::Sum => losses.sum_all()?,
            Reduction::Mean => (losses.sum_all()? / asked.weights.sum_all()?)?,
        };
        let mut outputs = vec![loss.to_dtype(x.dtype())?];
        if self == Self::Scores && site.node.output(1).is_some() {
            outputs.push(log_p.reshape(x.dims())?.to_dtype(x.dtype())?);
        }
        Ok(outputs)
    }

    fn gradient_on_device(self, site: &Site, x: &Tensor, back: &Backward) -> Result<Tensor, OpError> {
        let asked = Asked::new(site, x, back.inputs)?;
        let mut slopes = asked.rows.zeros_like()?;
        if let Some(gradient) = back.gradients.first().and_then(Option::as_ref) {
            let gradient = gradient.to_dtype(DType::F32)?;
            let weights = match reduction(site)? {
                Reduction::None => (&asked.weights * gradient.reshape(asked.weights.shape())?)?,
                Reduction::Sum => asked.weights.broadcast_mul(&gradient)?,
                Reduction::Mean => asked.weights.broadcast_mul(&(gradient / asked.weights.sum_all()?)?)?,
            };
            let classes = Tensor::arange(0, asked.rows.dim(1)? as u32, x.device())?.reshape((1, (), 1))?;
            let hits = classes.broadcast_eq(&asked.labels)?.to_dtype(DType::F32)?;
            slopes = hits.broadcast_mul(&weights)?.neg()?;
        }
        if self == Self::Scores {
            if let Some(gradient) = back.gradients.get(1).and_then(Option::as_ref) {
                slopes =
                    (slopes + gradient.contiguous()?.reshape(asked.rows.shape())?.to_dtype(DType::F32)?)?;
            }
            // Through the logarithm of the softmax: `g - p * sum(g)`.
            let p = self.log_probabilities_on_device(&asked.rows)?.exp()?;
            slopes = (&slopes - p.broadcast_mul(&slopes.sum_keepdim(1)?)?)?;
        }
        Ok(slopes.reshape(x.dims())?.to_dtype(x.dtype())?)
    }

    fn log_probabilities_on_device(self, rows: &Tensor) -> Result<Tensor, OpError> {
        if self == Self::LogProbabilities {
            return Ok(rows.clone());
        }
        let shifted = rows.broadcast_sub(&rows.max_keepdim(1)?)?;
        Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?)
    }

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

/// The class that is asked for at each position; `None` where it is ignored.
fn labels(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Vec<Option<usize>>, OpError> {
    let target = site.required(inputs, 1)?;
    let [batch, classes, space @ ..] = x else {
        return Err(site.refuse("scores of batch and classes were expected"));
    };
    if target.dims() != [&[*batch], space].concat() {
        return Err(site.refuse(format!("targets of {:?} for scores of {x:?}", target.dims())));
    }
    let weights = inputs.get(2).and_then(Option::as_ref);
    if weights.is_some_and(|weights| weights.elem_count() != *classes) {
        return Err(site.refuse(format!("there is not one weight for each of {classes} classes")));
    }
    let ignored = site.node.int("ignore_index");
    let class = |label: i64| {
        let class = usize::try_from(label).ok().filter(|class| class < classes);
        class.ok_or_else(|| site.refuse(format!("label {label} is none of {classes} classes")))
    };
    let label = |label: i64| if Some(label) == ignored { Ok(None) } else { class(label).map(Some) };
    host::integers(target)?.into_iter().map(label).collect()
}

/// Scores and what is asked of them where they lie.
struct Asked {
    /// Float32 of [batch, classes, positions].
    rows: Tensor,
    /// Uint32 of [batch, 1, positions]; 0 where a position is ignored.
    labels: Tensor,
    /// Float32 of [batch, 1, positions]; 0 where a position is ignored.
    weights: Tensor,
}

impl Asked {
    fn new(site: &Site, x: &Tensor, inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let asked = labels(site, x.dims(), inputs)?;
        let (batch, classes) = (x.dims()[0], x.dims()[1]);
        let positions: usize = x.dims()[2..].iter().product();
        let shape = (batch, 1, positions);
        let class: Vec<u32> = asked.iter().map(|class| class.unwrap_or(0) as u32).collect();
        let counts: Vec<f32> = asked.iter().map(|class| f32::from(class.is_some())).collect();
        let labels = Tensor::from_vec(class, shape, x.device())?;
        let mut weights = Tensor::from_vec(counts, shape, x.device())?;
        if let Some(of_class) = inputs.get(2).and_then(Option::as_ref) {
            let of_class = of_class.to_dtype(DType::F32)?.contiguous()?;
            weights = (weights * of_class.index_select(&labels.flatten_all()?, 0)?.reshape(shape)?)?;
        }
        let rows = x.contiguous()?.reshape((batch, classes, positions))?.to_dtype(DType::F32)?;
        Ok(Self { rows, labels, weights })
    }
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
        let asked = labels(site, x, inputs)?;
        let of_class = inputs.get(2).and_then(Option::as_ref).map(host::numbers).transpose()?;
        let weight = |class: usize| of_class.as_ref().map_or(1.0, |weights| weights[class]);
        Ok(Self {
            classes: x[1],
            positions: x[2..].iter().product(),
            weights: asked.iter().map(|class| class.map_or(0.0, weight)).collect(),
            labels: asked.into_iter().map(Option::unwrap_or_default).collect(),
        })
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
