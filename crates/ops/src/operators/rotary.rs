//! `RotaryEmbedding(x, cos, sin, positions?)` (Su et al. 2021): pairs of elements of each head are turned by
//! the angles of their position. It is linear in `x`, and its transpose turns back.

use crate::kernels::slices;
use crate::shapes::axis;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use refit_graph::{Fact, OpName};

pub(crate) struct RotaryEmbedding;

impl Operator for RotaryEmbedding {
    fn name(&self) -> OpName {
        OpName::standard("RotaryEmbedding")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        Ok(vec![turn(site, x, inputs, 1.0)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index < 3
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        let tables = wanted.iter().skip(1).any(|wanted| *wanted);
        if tables { None } else { Reads::inputs(&[1, 2, 3]) }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let mut gradients = vec![None; back.input_shapes.len()];
        gradients[0] = Some(turn(site, gradient, back.inputs, -1.0)?);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let tables = |problem: Problem, shape: &[usize]| problem.random(shape).random(shape);
        vec![
            tables(Problem::new("four dimensions").random(&[2, 2, 3, 4]), &[2, 3, 2]),
            tables(Problem::new("part of a head, in pairs").random(&[1, 3, 5, 6]), &[7, 2])
                .integers(&[1, 5], &[4, 0, 6, 1, 1])
                .int("rotary_embedding_dim", 4)
                .int("interleaved", 1),
            tables(Problem::new("three dimensions").random(&[2, 3, 8]), &[4, 2])
                .integers(&[2, 3], &[0, 1, 2, 3, 2, 1])
                .int("num_heads", 2),
        ]
    }
}

/// Where rows of heads lie, and the angles of each.
struct Layout {
    heads: usize,
    sequence: usize,
    width: usize,
    /// Elements of a head that are turned.
    turned: usize,
    /// Whether the heads lie outside of the sequence.
    heads_first: bool,
    interleaved: bool,
}

impl Layout {
    fn new(site: &Site, x: &[usize]) -> Result<(usize, Self), OpError> {
        let size = |name| usize::try_from(site.node.int(name).unwrap_or(0)).unwrap_or(0);
        let (batch, heads, sequence, width) = match *x {
            [batch, heads, sequence, width] => (batch, heads, sequence, width),
            [batch, sequence, hidden] => {
                let heads = size("num_heads");
                if heads == 0 || !hidden.is_multiple_of(heads) {
                    return Err(site.refuse(format!("{hidden} cannot be shared among {heads} heads")));
                }
                (batch, heads, sequence, hidden / heads)
            }
            _ => return Err(site.refuse(format!("three or four dimensions were expected, not {x:?}"))),
        };
        let turned = Some(size("rotary_embedding_dim")).filter(|dim| *dim > 0).unwrap_or(width);
        if turned > width || !turned.is_multiple_of(2) {
            return Err(site.refuse(format!("{turned} elements of {width} cannot be turned in pairs")));
        }
        let interleaved = size("interleaved") != 0;
        Ok((batch, Self { heads, sequence, width, turned, heads_first: x.len() == 4, interleaved }))
    }

    /// Batch and place in the sequence of a row.
    fn row(&self, row: usize) -> (usize, usize) {
        let inner = self.heads * self.sequence;
        let place = if self.heads_first { row % self.sequence } else { row / self.heads % self.sequence };
        (row / inner, place)
    }

    /// The shape of tables with an angle for each place, which broadcast to the rows of `x`.
    fn angles(&self, batch: usize) -> [usize; 4] {
        let half = self.turned / 2;
        if self.heads_first { [batch, 1, self.sequence, half] } else { [batch, self.sequence, 1, half] }
    }

    /// Where the two elements of a pair lie in a row.
    fn pair(&self, index: usize) -> (usize, usize) {
        if self.interleaved { (2 * index, 2 * index + 1) } else { (index, index + self.turned / 2) }
    }
}

/// The same where `x` lies, by tables that broadcast to its rows.
fn on_device(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    batch: usize,
    layout: &Layout,
) -> Result<Tensor, OpError> {
    let Layout { heads, sequence, width, turned, heads_first, interleaved } = *layout;
    let half = turned / 2;
    let (outer, inner) = if heads_first { (heads, sequence) } else { (sequence, heads) };
    let rows = x.contiguous()?.reshape((batch, outer, inner, width))?.to_dtype(DType::F32)?;
    let head = rows.narrow(3, 0, turned)?;
    // The two elements of a pair along an axis of their own.
    let pairs = if interleaved { 4 } else { 3 };
    let split = match interleaved {
        true => head.reshape((batch, outer, inner, half, 2))?,
        false => head.reshape((batch, outer, inner, 2, half))?,
    };
    let (a, b) = (split.narrow(pairs, 0, 1)?.squeeze(pairs)?, split.narrow(pairs, 1, 1)?.squeeze(pairs)?);
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (a.broadcast_mul(sin)? + b.broadcast_mul(cos)?)?;
    let head = Tensor::stack(&[first, second], pairs)?.reshape((batch, outer, inner, turned))?;
    let y = match turned == width {
        true => head,
        false => Tensor::cat(&[head, rows.narrow(3, turned, width - turned)?], 3)?,
    };
    Ok(y.reshape(x.dims())?.to_dtype(x.dtype())?)
}

/// Turns every pair by its angle times `sign`.
fn turn(site: &Site, x: &Tensor, inputs: &[Option<Tensor>], sign: f32) -> Result<Tensor, OpError> {
    let (batch, layout) = Layout::new(site, x.dims())?;
    let half = layout.turned / 2;
    let (cos, sin) = (site.required(inputs, 1)?, site.required(inputs, 2)?);
    let positions = inputs.get(3).and_then(Option::as_ref);
    let expected = match positions {
        Some(_) => vec![cos.dims().first().copied().unwrap_or(0), half],
        None => vec![batch, layout.sequence, half],
    };
    if cos.dims() != expected || sin.dims() != expected {
        return Err(site.refuse(format!("tables of {:?} and {:?} for {expected:?}", cos.dims(), sin.dims())));
    }
    let rows: Vec<usize> = match positions {
        None => (0..batch * layout.sequence).collect(),
        Some(positions) => {
            let numbers = host::integers(positions)?;
            if numbers.len() != batch * layout.sequence {
                return Err(site.refuse(format!("positions of {:?} for {:?}", positions.dims(), x.dims())));
            }
            let row = |position: i64| axis(site, position, expected[0]);
            numbers.into_iter().map(row).collect::<Result<_, _>>()?
        }
    };
    if !slices::is_cpu(x) {
        let rows = Tensor::new(rows.into_iter().map(|row| row as u32).collect::<Vec<_>>(), x.device())?;
        let table = |table: &Tensor| -> Result<Tensor, OpError> {
            let flat = table.contiguous()?.reshape(((), half))?.index_select(&rows, 0)?;
            Ok(flat.reshape(layout.angles(batch).as_slice())?.to_dtype(DType::F32)?)
        };
        return on_device(x, &table(cos)?, &(table(sin)? * f64::from(sign))?, batch, &layout);
    }
    let mut y = host::with(x, <[f32]>::to_vec)?;
    host::with2(cos, sin, |cos, sin| {
        y.par_chunks_mut(layout.width.max(1)).enumerate().for_each(|(index, row)| {
            let (image, place) = layout.row(index);
            let angles = rows[image * layout.sequence + place] * half;
            for pair in 0..half {
                let ((a, b), cos, sin) = (layout.pair(pair), cos[angles + pair], sign * sin[angles + pair]);
                (row[a], row[b]) = (cos * row[a] - sin * row[b], sin * row[a] + cos * row[b]);
            }
        });
    })?;
    host::tensor(y, x.dims(), x)
}
