//! Rules about shapes that several operators share: axes, broadcasting, sizes.

use crate::{OpError, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, HostTensor};

/// `axis` counted from the front; negative ones count from the back.
pub(crate) fn axis(site: &Site, axis: i64, rank: usize) -> Result<usize, OpError> {
    let shifted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(shifted)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| site.refuse(format!("axis {axis} does not exist in {rank} dimensions")))
}

/// Several axes, each counted from the front.
pub(crate) fn axes(site: &Site, axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    axes.iter().map(|a| axis(site, *a, rank)).collect()
}

/// The dimension of two that are broadcast against each other.
fn broadcast_dim(site: &Site, a: &Dim, b: &Dim) -> Result<Dim, OpError> {
    Ok(match (a, b) {
        (a, b) if a == b => a.clone(),
        (Dim::Known(1), other) | (other, Dim::Known(1)) => other.clone(),
        (Dim::Known(a), Dim::Known(b)) => {
            return Err(site.refuse(format!("dimensions {a} and {b} cannot be broadcast")));
        }
        // The other one is either equal or 1.
        (Dim::Known(size), _) | (_, Dim::Known(size)) => Dim::Known(*size),
        _ => Dim::Unknown,
    })
}

/// The shape of a multidirectional broadcast.
pub(crate) fn broadcast(site: &Site, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], index: usize| {
        (index + dims.len()).checked_sub(rank).map_or(Dim::Known(1), |index| dims[index].clone())
    };
    (0..rank).map(|index| broadcast_dim(site, &at(a, index), &at(b, index))).collect()
}

/// The shape of a broadcast of facts; `None` as soon as one is unknown.
pub(crate) fn broadcast_facts(site: &Site, facts: &[Fact]) -> Result<Option<Vec<Dim>>, OpError> {
    let mut shape = Some(Vec::new());
    for fact in facts {
        shape = match (shape, &fact.shape) {
            (Some(left), Some(right)) => Some(broadcast(site, &left, right)?),
            _ => None,
        };
    }
    Ok(shape)
}

/// The concrete broadcast of two shapes.
pub(crate) fn broadcast_sizes(site: &Site, a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let dims = |sizes: &[usize]| sizes.iter().copied().map(Dim::Known).collect::<Vec<_>>();
    Ok(broadcast(site, &dims(a), &dims(b))?.iter().filter_map(Dim::known).collect())
}

/// `tensor` repeated to `shape`, without copying.
pub(crate) fn broadcast_to(tensor: &Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
    Ok(if tensor.dims() == shape { tensor.clone() } else { tensor.broadcast_as(shape)? })
}

/// Sums a gradient over the dimensions along which a value of `shape` was repeated.
pub(crate) fn sum_to(gradient: &Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
    if gradient.dims() == shape {
        return Ok(gradient.clone());
    }
    let lead = gradient.rank() - shape.len();
    let repeated: Vec<usize> = (0..gradient.rank())
        .filter(|&i| i < lead || (shape[i - lead] == 1 && gradient.dims()[i] != 1))
        .collect();
    // Along the outer dimensions only: sums of columns, which have a kernel.
    let outer_only = repeated.iter().enumerate().all(|(position, axis)| position == *axis);
    if outer_only && crate::kernels::slices::is_cpu_f32(gradient) && gradient.elem_count() > 0 {
        let columns: usize = gradient.dims()[repeated.len()..].iter().product();
        let gradient = gradient.contiguous()?;
        let sums =
            crate::kernels::slices::with(&gradient, |g| crate::kernels::matrix::column_sums(g, columns))?;
        return Ok(Tensor::from_vec(sums, shape, gradient.device())?);
    }
    Ok(gradient.sum_keepdim(repeated)?.reshape(shape)?)
}

/// A dimension counted as a product of named sizes and a number; `None` when something is unknown.
fn factors<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Option<(usize, Vec<String>)> {
    let (mut number, mut names) = (1usize, Vec::new());
    for dim in dims {
        match dim {
            Dim::Known(size) => number = number.checked_mul(*size)?,
            Dim::Symbol(name) => names.push(name.clone()),
            Dim::Unknown => return None,
        }
    }
    Some((number, names))
}

/// The product of dimensions, where it can be written as one.
pub(crate) fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
    match factors(dims) {
        Some((0, _)) => Dim::Known(0),
        Some((number, names)) => single(number, names),
        None => Dim::Unknown,
    }
}

/// `product(whole) / product(part)`, where it can be written as one dimension.
pub(crate) fn quotient(whole: &[Dim], part: &[Dim]) -> Dim {
    let (Some((whole, mut names)), Some((part, divisors))) = (factors(whole), factors(part)) else {
        return Dim::Unknown;
    };
    for name in divisors {
        match names.iter().position(|n| *n == name) {
            Some(position) => drop(names.swap_remove(position)),
            None => return Dim::Unknown,
        }
    }
    if part == 0 || whole % part != 0 { Dim::Unknown } else { single(whole / part, names) }
}

fn single(number: usize, names: Vec<String>) -> Dim {
    match (number, names.as_slice()) {
        (number, []) => Dim::Known(number),
        (1, [name]) => Dim::Symbol(name.clone()),
        _ => Dim::Unknown,
    }
}

/// The integers of a small tensor on the host.
pub(crate) fn integers(site: &Site, tensor: &Tensor) -> Result<Vec<i64>, OpError> {
    let host: HostTensor = crate::to_host(tensor)?;
    host.to_i64().ok_or_else(|| site.refuse("integers were expected"))
}

/// A shape from integers, none of which may be negative.
pub(crate) fn sizes(site: &Site, values: &[i64]) -> Result<Vec<usize>, OpError> {
    values
        .iter()
        .map(|v| usize::try_from(*v).map_err(|_| site.refuse(format!("a size cannot be {v}"))))
        .collect()
}

/// A fact of unknown shape.
pub(crate) fn of_type(dtype: Option<refit_graph::DType>) -> Fact {
    Fact { dtype, ..Fact::default() }
}

/// A fact with a shape that may be unknown.
pub(crate) fn shaped(dtype: Option<refit_graph::DType>, shape: Option<Vec<Dim>>) -> Fact {
    Fact { dtype, shape, elements: None }
}
