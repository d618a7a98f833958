//! Operators whose output elements are copies of input elements: a position for each output element says
//! which. Forward picks, the reverse rule adds up.

use crate::device::table;
use crate::kernels::{rows, slices};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{Tensor, WithDType};
use refit_graph::{Fact, OpName};

/// Stands for no element: the output takes the fill value there.
pub(crate) const NOTHING: u32 = u32::MAX;

/// The output's shape and, for each of its elements, the position in the flat input.
pub(crate) struct Plan {
    pub shape: Vec<usize>,
    pub sources: Vec<u32>,
}

/// Makes a plan from the shape of the first input and all inputs, of which the host ones are there.
type MakePlan = fn(&Site, &[usize], &[Option<Tensor>]) -> Result<Plan, OpError>;

/// An operator that only rearranges its first input.
pub(crate) struct Picking {
    pub name: &'static str,
    /// Inputs that the plan depends on; they are read on the host.
    pub host_inputs: &'static [usize],
    pub infer: fn(&Site, &Known) -> Result<Vec<Fact>, OpError>,
    /// The plan, from the shape of the first input and the other inputs.
    pub plan: MakePlan,
    pub problems: fn() -> Vec<Problem>,
}

impl Operator for Picking {
    fn name(&self) -> OpName {
        OpName::standard(self.name)
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        (self.infer)(site, inputs)
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let plan = (self.plan)(site, x.dims(), inputs)?;
        Ok(vec![pick(x, &plan, 0.0)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        self.host_inputs
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(self.host_inputs)
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let plan = (self.plan)(site, &back.input_shapes[0], back.inputs)?;
        let mut gradients = vec![None; back.input_shapes.len()];
        gradients[0] = Some(put_back(gradient, &plan.sources, &back.input_shapes[0])?);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        (self.problems)()
    }
}

/// The elements that a plan names, of any type.
pub(crate) fn pick(x: &Tensor, plan: &Plan, fill: f64) -> Result<Tensor, OpError> {
    let count = x.elem_count();
    if plan.sources.is_empty() {
        return Ok(Tensor::zeros(plan.shape.as_slice(), x.dtype(), x.device())?);
    }
    let mut flat = x.contiguous()?.flatten_all()?;
    let sources = if plan.sources.contains(&NOTHING) {
        let last = Tensor::full(f64::from_f64(fill), 1, x.device())?.to_dtype(x.dtype())?;
        flat = if count == 0 { last } else { Tensor::cat(&[&flat, &last], 0)? };
        plan.sources.iter().map(|source| (*source).min(count as u32)).collect()
    } else {
        plan.sources.clone()
    };
    let sources = Tensor::new(sources, x.device())?;
    Ok(flat.index_select(&sources, 0)?.reshape(plan.shape.as_slice())?)
}

/// A tensor of `shape` whose elements are the sums of those that were picked from them.
pub(crate) fn put_back(gradient: &Tensor, sources: &[u32], shape: &[usize]) -> Result<Tensor, OpError> {
    let count: usize = shape.iter().product();
    let gradient = gradient.contiguous()?;
    // One place more takes what came from nowhere.
    let places = |source: &u32| (*source as usize).min(count);
    if slices::is_cpu_f32(&gradient) {
        let places: Vec<usize> = sources.iter().map(places).collect();
        let mut sums = slices::with(&gradient, |g| rows::scatter_add(g, 1, &places, count + 1))?;
        sums.truncate(count);
        return Ok(Tensor::from_vec(sums, shape, gradient.device())?);
    }
    if sources.is_empty() || count == 0 {
        return Ok(Tensor::zeros(shape, gradient.dtype(), gradient.device())?);
    }
    if !table::is_spread(sources, count) {
        // candle adds these up in a single thread of a GPU.
        let zeros = Tensor::zeros(count + 1, gradient.dtype(), gradient.device())?;
        let places: Vec<u32> = sources.iter().map(|source| places(source) as u32).collect();
        let sums = zeros.index_add(&Tensor::new(places, gradient.device())?, &gradient.flatten_all()?, 0)?;
        return Ok(sums.narrow(0, 0, count)?.reshape(shape)?);
    }
    let (readers, readings) = table::inverse(sources, count);
    let read = gradient.flatten_all()?.index_select(&Tensor::new(readings, gradient.device())?, 0)?;
    Ok(table::sum_rows(&read.reshape((1, readers, count))?)?.reshape(shape)?)
}

/// Distances between neighbours of a row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// A plan from a source along each axis alone: output position `i` along `axis` reads `along[axis][i]`.
pub(crate) fn separable(x: &[usize], along: &[Vec<Option<usize>>]) -> Plan {
    let shape: Vec<usize> = along.iter().map(Vec::len).collect();
    let mut sources: Vec<u32> = vec![0];
    for (axis, stride) in strides(x).into_iter().enumerate() {
        let step = |source: &u32, place: &Option<usize>| match (source, place) {
            (&NOTHING, _) | (_, None) => NOTHING,
            (source, Some(place)) => source + (place * stride) as u32,
        };
        sources = sources
            .iter()
            .flat_map(|source| along[axis].iter().map(move |place| step(source, place)))
            .collect();
    }
    Plan { shape, sources }
}
