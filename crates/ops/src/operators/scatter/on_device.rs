//! Updates that are added to elements, multiply them or compete with them, by candle's operations: first the
//! first update of each element, then the second, and so on.

use super::Reduction;
use crate::device::table;
use crate::picks::NOTHING;
use candle_core::{DType, Result, Tensor};

/// Which updates meet each element of the data.
pub(super) struct Meetings {
    rows: usize,
    count: usize,
    /// [rows, count]; [`NOTHING`] where an element meets fewer.
    readings: Vec<u32>,
    updates: usize,
}

impl Meetings {
    /// Of updates that go to `places` among `count` elements; `None` if they gather in too few of them.
    pub fn new(places: &[usize], count: usize) -> Option<Self> {
        let sources: Vec<u32> = places.iter().map(|place| *place as u32).collect();
        if places.is_empty() || !table::is_spread(&sources, count) {
            return None;
        }
        let (rows, readings) = table::inverse(&sources, count);
        Some(Self { rows, count, readings, updates: places.len() })
    }

    /// The data with its updates.
    pub fn combine(&self, data: &Tensor, updates: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let read = self.read(updates, reduction)?;
        let mut values = data.contiguous()?.flatten_all()?;
        for row in &read {
            values = combined(&values, row, reduction)?;
        }
        values.reshape(data.shape())
    }

    /// Gradients of data and updates through products and extremes. Equal extremes share a gradient.
    pub fn gradients(
        &self,
        gradient: &Tensor,
        data: &Tensor,
        updates: &Tensor,
        reduction: Reduction,
    ) -> Result<[Tensor; 2]> {
        let flat = |tensor: &Tensor| tensor.contiguous()?.flatten_all()?.to_dtype(DType::F32);
        let gradient = flat(gradient)?;
        let mut terms = vec![flat(data)?];
        terms.extend(self.read(&updates.to_dtype(DType::F32)?, reduction)?);
        let slopes = match reduction {
            Reduction::Multiply => products_of_others(&terms)?,
            _ => shares(&terms, reduction)?,
        };
        let parts: Vec<Tensor> = slopes.iter().map(|slope| slope * &gradient).collect::<Result<_>>()?;
        // Where each update was read is where its gradient is.
        let mut read_at = vec![NOTHING; self.updates];
        for (at, update) in self.readings.iter().enumerate().filter(|(_, update)| **update != NOTHING) {
            read_at[*update as usize] = at as u32;
        }
        let of_rows = Tensor::cat(&parts[1..], 0)?;
        let of_updates = of_rows.index_select(&Tensor::new(read_at, gradient.device())?, 0)?;
        Ok([
            parts[0].reshape(data.shape())?.to_dtype(data.dtype())?,
            of_updates.reshape(updates.shape())?.to_dtype(updates.dtype())?,
        ])
    }

    /// The updates row by row, each of as many elements as the data; what changes nothing where there is none.
    fn read(&self, updates: &Tensor, reduction: Reduction) -> Result<Vec<Tensor>> {
        let nothing = match reduction {
            Reduction::Multiply => 1.0,
            Reduction::Max => f64::NEG_INFINITY,
            Reduction::Min => f64::INFINITY,
            Reduction::Add | Reduction::Replace => 0.0,
        };
        let last = Tensor::full(nothing, 1, updates.device())?.to_dtype(updates.dtype())?;
        let all = Tensor::cat(&[&updates.contiguous()?.flatten_all()?, &last], 0)?;
        let places: Vec<u32> = self.readings.iter().map(|at| (*at).min(self.updates as u32)).collect();
        let read = all.index_select(&Tensor::new(places, updates.device())?, 0)?;
        (0..self.rows).map(|row| read.narrow(0, row * self.count, self.count)).collect()
    }
}

fn combined(a: &Tensor, b: &Tensor, reduction: Reduction) -> Result<Tensor> {
    match reduction {
        Reduction::Add => a + b,
        Reduction::Multiply => a * b,
        Reduction::Max => a.maximum(b),
        Reduction::Min => a.minimum(b),
        Reduction::Replace => Ok(b.clone()),
    }
}

/// For each term the product of the others: right where one is 0.
fn products_of_others(terms: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut others = Vec::with_capacity(terms.len());
    let mut before = terms[0].ones_like()?;
    for term in terms {
        others.push(before.clone());
        before = (before * term)?;
    }
    let mut after = terms[0].ones_like()?;
    for (other, term) in others.iter_mut().zip(terms).rev() {
        *other = (&*other * &after)?;
        after = (after * term)?;
    }
    Ok(others)
}

/// For each term its share in being the extreme one.
fn shares(terms: &[Tensor], reduction: Reduction) -> Result<Vec<Tensor>> {
    let mut best = terms[0].clone();
    for term in &terms[1..] {
        best = combined(&best, term, reduction)?;
    }
    let hit = |term: &Tensor| term.eq(&best)?.to_dtype(DType::F32);
    let hits: Vec<Tensor> = terms.iter().map(hit).collect::<Result<_>>()?;
    let mut ties = hits[0].clone();
    for hit in &hits[1..] {
        ties = (ties + hit)?;
    }
    hits.iter().map(|hit| hit / &ties).collect()
}
