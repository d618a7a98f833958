//! Pools, one position of the kernel after the other: memory is that of the output, however large the window.
//! The reverse rules read the outputs that an input position takes part in, instead of adding to positions.

use super::table::{Table, Windows};
use crate::kernels::pool::{Pool, Sizes};
use crate::picks::NOTHING;
use candle_core::{DType, Device, Result, Tensor};

/// What [`crate::kernels::pool::forward`] computes, [planes, positions].
pub(crate) fn forward(x: &Tensor, pool: Pool, sizes: &Sizes) -> Result<Tensor> {
    let table = Table::of_windows(&windows(sizes));
    let dtype = x.dtype();
    let x = x.contiguous()?.reshape((sizes.planes, table.from))?;
    match pool {
        Pool::Max => {
            let mut largest: Option<Tensor> = None;
            for tap in 0..table.rows {
                let read = candidates(&x, &table, tap)?;
                largest = Some(match largest {
                    Some(largest) => largest.maximum(&read)?,
                    None => read,
                });
            }
            largest.map_or_else(|| x.narrow(1, 0, 0), Ok)
        }
        Pool::Mean { count_padding } => {
            let sums = sums(&x.to_dtype(DType::F32)?, &table)?;
            sums.broadcast_div(&divisors(sizes, count_padding, &x)?)?.to_dtype(dtype)
        }
        Pool::Norm(p) => {
            let powers = x.to_dtype(DType::F32)?.abs()?.powf(f64::from(p))?;
            sums(&powers, &table)?.powf(1.0 / f64::from(p))?.to_dtype(dtype)
        }
    }
}

/// What [`crate::kernels::pool::largest_at`] finds, int64 of [planes, positions].
pub(crate) fn largest_at(x: &Tensor, column_major: bool, sizes: &Sizes) -> Result<Tensor> {
    let table = Table::of_windows(&windows(sizes));
    let (planes, columns, device) = (sizes.planes, table.columns, x.device());
    let y = forward(x, Pool::Max, sizes)?;
    let x = x.contiguous()?.reshape((planes, table.from))?;
    let [depth, height, width] = sizes.input;
    let place = |at: u32| -> i64 {
        let at = at as usize;
        let (outer, inner, last) = (at / (height * width), at / width % height, at % width);
        (if column_major { (last * height + inner) * depth + outer } else { at }) as i64
    };
    let mut places = Tensor::zeros((planes, columns), DType::I64, device)?;
    // Backwards, so that of equal ones the first stays.
    for tap in (0..table.rows).rev() {
        let row = &table.sources[tap * columns..(tap + 1) * columns];
        let of_row: Vec<i64> = row.iter().map(|at| if *at == NOTHING { 0 } else { place(*at) }).collect();
        let of_row = Tensor::from_vec(of_row, (1, columns), device)?.broadcast_as((planes, columns))?;
        places = candidates(&x, &table, tap)?.eq(&y)?.where_cond(&of_row, &places)?;
    }
    let starts: Vec<i64> = (0..planes).map(|plane| (plane * table.from) as i64).collect();
    places.broadcast_add(&Tensor::from_vec(starts, (planes, 1), device)?)
}

/// What [`crate::kernels::pool::backward`] computes, [planes, positions]. A mean reads neither `x` nor `y`.
pub(crate) fn backward(
    forward: Option<(&Tensor, &Tensor)>,
    gradient: &Tensor,
    pool: Pool,
    sizes: &Sizes,
) -> Result<Tensor> {
    let table = Table::of_windows(&windows(sizes));
    let dtype = gradient.dtype();
    let readers = table.inverse();
    let g = gradient.contiguous()?.reshape((sizes.planes, table.columns))?.to_dtype(DType::F32)?;
    let (x, y) = match forward {
        Some((x, y)) => (
            x.contiguous()?.reshape((sizes.planes, table.from))?,
            y.contiguous()?.reshape((sizes.planes, table.columns))?,
        ),
        None => (g.clone(), g.clone()),
    };
    let dx = match pool {
        Pool::Max => {
            let first = first_largest(&x, &y, &table)?;
            let mut sum: Option<Tensor> = None;
            for row in 0..readers.rows {
                let (taps, outputs) = split(&readers, row, &table, g.device())?;
                let has_it = first.index_select(&outputs, 1)?.broadcast_eq(&taps)?.to_dtype(DType::F32)?;
                let part = (g.index_select(&outputs, 1)? * has_it)?;
                sum = Some(match sum {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
            sum.map_or_else(|| g.narrow(1, 0, 0), Ok)?
        }
        Pool::Mean { count_padding } => {
            reading_sums(&g.broadcast_div(&divisors(sizes, count_padding, &g)?)?, &readers, &table)?
        }
        Pool::Norm(p) => {
            let rest = f64::from(p) - 1.0;
            let (x, y) = (x.to_dtype(DType::F32)?, y.to_dtype(DType::F32)?);
            // At 0 the norm has a kink: its gradient there is taken as 0.
            let some = y.gt(0f64)?;
            let scale = some.where_cond(&(&g / y.powf(rest)?)?, &g.zeros_like()?)?;
            let rise = (x.abs()?.powf(rest)? * x.sign()?)?;
            (reading_sums(&scale, &readers, &table)? * rise)?
        }
    };
    dx.to_dtype(dtype)
}

fn windows(sizes: &Sizes) -> Windows {
    let Sizes { input, output, kernel, strides, dilations, pads, .. } = *sizes;
    Windows { input, output, kernel, strides, dilations, pads: pads.map(|(before, _)| before) }
}

/// What each window reads at a position of the kernel, minus infinity in the padding.
fn candidates(x: &Tensor, table: &Table, tap: usize) -> Result<Tensor> {
    let read = x.index_select(&table.row(tap, x.device())?, 1)?;
    let row = &table.sources[tap * table.columns..(tap + 1) * table.columns];
    if !row.contains(&NOTHING) {
        return Ok(read);
    }
    let below: Vec<f32> = row.iter().map(|at| if *at == NOTHING { f32::NEG_INFINITY } else { 0.0 }).collect();
    read.broadcast_add(&Tensor::from_vec(below, (1, table.columns), x.device())?.to_dtype(x.dtype())?)
}

/// The sum over each window.
fn sums(x: &Tensor, table: &Table) -> Result<Tensor> {
    let mut sum = Tensor::zeros((x.dim(0)?, table.columns), x.dtype(), x.device())?;
    for tap in 0..table.rows {
        sum = (sum + x.index_select(&table.row(tap, x.device())?, 1)?)?;
    }
    Ok(sum)
}

/// For each input position the sum over the windows that it lies in.
fn reading_sums(of_windows: &Tensor, readers: &Table, table: &Table) -> Result<Tensor> {
    let window = |reader: &u32| if *reader == NOTHING { NOTHING } else { reader % table.columns as u32 };
    sums(of_windows, &Table { sources: readers.sources.iter().map(window).collect(), ..readers.clone() })
}

/// The first position of the kernel with the largest element, uint32; one past the last where none is equal.
fn first_largest(x: &Tensor, y: &Tensor, table: &Table) -> Result<Tensor> {
    let number = |tap: usize| Tensor::full(tap as u32, (1, 1), x.device())?.broadcast_as(y.shape());
    let mut first = number(table.rows)?.contiguous()?;
    for tap in (0..table.rows).rev() {
        first = candidates(x, table, tap)?.eq(y)?.where_cond(&number(tap)?, &first)?;
    }
    Ok(first)
}

/// Of a row of readers the position of the kernel, [1, positions], and the window, [positions].
fn split(readers: &Table, row: usize, table: &Table, device: &Device) -> Result<(Tensor, Tensor)> {
    let row = &readers.sources[row * readers.columns..(row + 1) * readers.columns];
    let columns = table.columns as u32;
    // A gap picks the number 0, which is a position of the kernel: it must not be equal.
    let tap = |reader: &u32| if *reader == NOTHING { NOTHING } else { reader / columns };
    let window = |reader: &u32| if *reader == NOTHING { NOTHING } else { reader % columns };
    let taps = Tensor::from_vec(row.iter().map(tap).collect::<Vec<u32>>(), (1, readers.columns), device)?;
    Ok((taps, Tensor::new(row.iter().map(window).collect::<Vec<u32>>(), device)?))
}

/// What the sums over windows are divided by, float32 of [1, positions].
fn divisors(sizes: &Sizes, count_padding: bool, like: &Tensor) -> Result<Tensor> {
    Tensor::new(sizes.divisors(count_padding), like.device())?.unsqueeze(0)
}
