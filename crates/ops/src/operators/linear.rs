//! `refit.Linear(x [.., K], W, bias [N]?) -> [.., N]`; W is [K, N], or [N, K] with `transB` = 1.

use crate::kernels::{matrix, matrix::Matrix, slices};
use crate::shapes::{of_type, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct Linear;

impl Operator for Linear {
    fn name(&self) -> OpName {
        OpName::refit("Linear")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, weight) = (inputs.fact(0), inputs.fact(1));
        let (Some(mut dims), Some(weight)) = (x.shape, weight.shape) else {
            return Ok(vec![of_type(x.dtype)]);
        };
        let ([first, second], Some(last)) = (weight.as_slice(), dims.last_mut()) else {
            return Err(site.refuse("x needs a dimension and the weight two"));
        };
        let (k, n) = if is_transposed(site) { (second, first) } else { (first, second) };
        if let (Dim::Known(a), Dim::Known(b)) = (&*last, k)
            && a != b
        {
            return Err(site.refuse(format!("x is {a} wide, the weight takes {b}")));
        }
        *last = n.clone();
        Ok(vec![shaped(x.dtype, Some(dims))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, weight) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let bias = inputs.get(2).and_then(Option::as_ref);
        let sizes = Sizes::new(site, x.dims(), weight.dims())?;
        if bias.is_some_and(|bias| bias.dims() != [sizes.n]) {
            return Err(site.refuse(format!("the bias must have {} elements", sizes.n)));
        }
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = sizes.n;
        }
        if slices::is_cpu_f32(x) && slices::is_cpu_f32(weight) {
            let (x, weight) = (x.contiguous()?, weight.contiguous()?);
            let run = |bias: &[f32]| {
                slices::with(&x, |x| {
                    slices::with(&weight, |w| {
                        matrix::linear(Matrix::new(x, sizes.m, sizes.k), sizes.weight(w), bias)
                    })
                })
            };
            let y = match bias {
                Some(bias) => slices::with(&bias.contiguous()?, run)???,
                None => run(&[])??,
            };
            return Ok(vec![Tensor::from_vec(y, shape, x.device())?]);
        }
        let weight = if sizes.transposed { weight.t()? } else { weight.clone() };
        let y = x.reshape((sizes.m, sizes.k))?.matmul(&weight)?;
        let y = bias.map_or_else(|| Ok(y.clone()), |bias| y.broadcast_add(bias))?;
        Ok(vec![y.reshape(shape)?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        let wants = |index: usize| wanted.get(index).copied().unwrap_or(false);
        let mut inputs = Vec::new();
        if wants(1) {
            inputs.push(0);
        }
        if wants(0) {
            inputs.push(1);
        }
        Some(Reads { inputs, outputs: Vec::new() })
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let sizes = Sizes::new(site, &back.input_shapes[0], &back.input_shapes[1])?;
        let gradient = site.required(back.gradients, 0)?.contiguous()?;
        let gradients = match slices::is_cpu_f32(&gradient) {
            true => on_cpu(site, back, &sizes, &gradient)?,
            false => on_device(site, back, &sizes, &gradient)?,
        };
        gradients
            .into_iter()
            .zip(back.input_shapes)
            .map(|(gradient, shape)| Ok(gradient.map(|g| g.reshape(shape.as_slice())).transpose()?))
            .collect()
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what| Problem::new(what).random(&[2, 3, 5]);
        vec![
            problem("[K, N]").random(&[5, 7]).random(&[7]),
            problem("[N, K]").random(&[7, 5]).random(&[7]).int("transB", 1),
            problem("no bias").random(&[5, 1]),
            Problem::new("an empty batch").random(&[0, 5]).random(&[5, 7]).random(&[7]),
        ]
    }
}

fn is_transposed(site: &Site) -> bool {
    site.node.int("transB").unwrap_or(0) != 0
}

/// `x` as [m, k], the weight as [k, n].
struct Sizes {
    m: usize,
    k: usize,
    n: usize,
    transposed: bool,
}

impl Sizes {
    fn new(site: &Site, x: &[usize], weight: &[usize]) -> Result<Self, OpError> {
        let ([first, second], Some((width, rows))) = (weight, x.split_last()) else {
            return Err(site.refuse("x needs a dimension and the weight two"));
        };
        let transposed = is_transposed(site);
        let (k, n) = if transposed { (*second, *first) } else { (*first, *second) };
        if *width != k {
            return Err(site.refuse(format!("x is {width} wide, the weight takes {k}")));
        }
        Ok(Self { m: rows.iter().product(), k, n, transposed })
    }

    /// The weight as [K, N], however it is stored.
    fn weight<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        match self.transposed {
            true => Matrix::new(data, self.n, self.k).t(),
            false => Matrix::new(data, self.k, self.n),
        }
    }
}

fn on_cpu(
    site: &Site,
    back: &Backward,
    sizes: &Sizes,
    gradient: &Tensor,
) -> Result<Vec<Option<Tensor>>, OpError> {
    let device = gradient.device();
    let (m, k, n) = (sizes.m, sizes.k, sizes.n);
    let mut gradients = vec![None, None, None];
    if back.wants(0) {
        let weight = site.required(back.inputs, 1)?.contiguous()?;
        let dx = slices::with(gradient, |g| {
            slices::with(&weight, |w| matrix::product(Matrix::new(g, m, n), sizes.weight(w).t()))
        })??;
        gradients[0] = Some(Tensor::from_vec(dx, (m, k), device)?);
    }
    if back.wants(1) {
        let x = site.required(back.inputs, 0)?.contiguous()?;
        let dw = slices::with(gradient, |g| {
            slices::with(&x, |x| {
                let (x, g) = (Matrix::new(x, m, k), Matrix::new(g, m, n));
                match sizes.transposed {
                    true => matrix::product(g.t(), x),
                    false => matrix::product(x.t(), g),
                }
            })
        })??;
        gradients[1] = Some(Tensor::from_vec(dw, k * n, device)?);
    }
    if back.wants(2) {
        let sums = slices::with(gradient, |g| matrix::column_sums(g, n))?;
        gradients[2] = Some(Tensor::from_vec(sums, n, device)?);
    }
    gradients.truncate(back.input_shapes.len());
    Ok(gradients)
}

fn on_device(
    site: &Site,
    back: &Backward,
    sizes: &Sizes,
    gradient: &Tensor,
) -> Result<Vec<Option<Tensor>>, OpError> {
    let gradient = gradient.reshape((sizes.m, sizes.n))?;
    let mut gradients = vec![None, None, None];
    if back.wants(0) {
        let weight = site.required(back.inputs, 1)?;
        let weight = if sizes.transposed { weight.clone() } else { weight.t()? };
        gradients[0] = Some(gradient.matmul(&weight)?);
    }
    if back.wants(1) {
        let x = site.required(back.inputs, 0)?.reshape((sizes.m, sizes.k))?;
        gradients[1] = Some(match sizes.transposed {
            true => gradient.t()?.matmul(&x)?,
            false => x.t()?.matmul(&gradient)?,
        });
    }
    if back.wants(2) {
        // A sum over many rows needs more bits than half precision has.
        let sums = gradient.to_dtype(candle_core::DType::F32)?.sum(0)?;
        gradients[2] = Some(sums.to_dtype(gradient.dtype())?);
    }
    gradients.truncate(back.input_shapes.len());
    Ok(gradients)
}
