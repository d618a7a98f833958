//! Tables of positions: what each element of a result reads of a plane (one image and channel), the same for
//! all planes.

use crate::picks::NOTHING;
use candle_core::{DType, Device, Result, Tensor};

/// Terms that candle's kernel for CUDA sums in one thread; of more it makes a block of threads for each sum,
/// which pays from some hundred on.
const TERMS_OF_A_THREAD: usize = 32;
const TERMS_OF_A_BLOCK: usize = 256;
/// The multiple of [`is_spread`].
const ROOM: usize = 16;

/// Positions in a plane of `from` elements, [rows, columns]; [`NOTHING`] stands for a zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub from: usize,
    pub rows: usize,
    pub columns: usize,
    pub sources: Vec<u32>,
}

/// Windows that slide over three spatial dimensions.
pub(crate) struct Windows {
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    pub dilations: [usize; 3],
    /// Padding in front.
    pub pads: [usize; 3],
}

impl Table {
    /// A row for each position of the kernel, a column for each window: what of the input lies there.
    pub fn of_windows(windows: &Windows) -> Self {
        let Windows { input, output, kernel, strides, dilations, pads } = windows;
        let place = |axis: usize, tap: usize, at: usize| {
            let padded = at * strides[axis] + tap * dilations[axis];
            padded.checked_sub(pads[axis]).filter(|place| *place < input[axis])
        };
        let (rows, columns) = (kernel.iter().product(), output.iter().product());
        let mut sources = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let taps = [row / (kernel[1] * kernel[2]), row / kernel[2] % kernel[1], row % kernel[2]];
            for i in 0..output[0] {
                for j in 0..output[1] {
                    let line = place(0, taps[0], i).zip(place(1, taps[1], j));
                    let line = line.map(|(i, j)| (i * input[1] + j) * input[2]);
                    let at =
                        |k| line.zip(place(2, taps[2], k)).map_or(NOTHING, |(line, k)| (line + k) as u32);
                    sources.extend((0..output[2]).map(at));
                }
            }
        }
        Self { from: input.iter().product(), rows, columns, sources }
    }

    /// For each position of the plane the elements of the table that read it, as `row * columns + column`:
    /// as many rows as the most that any position has.
    pub fn inverse(&self) -> Self {
        let (rows, sources) = inverse(&self.sources, self.from);
        Self { from: self.rows * self.columns, rows, columns: self.from, sources }
    }

    /// Whether the result is the plane itself.
    pub fn is_identity(&self) -> bool {
        self.rows == 1 && self.columns == self.from && self.sources.iter().copied().eq(0..self.from as u32)
    }

    /// The positions of one row, uint32 of [columns].
    pub fn row(&self, row: usize, device: &Device) -> Result<Tensor> {
        Tensor::new(&self.sources[row * self.columns..(row + 1) * self.columns], device)
    }
}

/// Whether [`inverse`] stays within a small multiple of what there is: not where a few places are named far more
/// often than the others.
pub(crate) fn is_spread(sources: &[u32], count: usize) -> bool {
    most_named(sources, count).saturating_mul(count) <= ROOM * count.max(sources.len())
}

fn most_named(sources: &[u32], count: usize) -> usize {
    let mut found = vec![0usize; count];
    let named = sources.iter().filter(|place| **place != NOTHING);
    named.for_each(|place| found[*place as usize] += 1);
    found.into_iter().max().unwrap_or(0)
}

/// For each of `count` places the indices of `sources` that name it, [rows, count], [`NOTHING`] where there
/// are fewer than rows; there is one row at least.
pub(crate) fn inverse(sources: &[u32], count: usize) -> (usize, Vec<u32>) {
    let rows = most_named(sources, count).max(1);
    let mut made = vec![NOTHING; rows * count];
    let mut found = vec![0usize; count];
    for (index, place) in sources.iter().enumerate().filter(|(_, place)| **place != NOTHING) {
        let place = *place as usize;
        made[found[place] * count + place] = index as u32;
        found[place] += 1;
    }
    (rows, made)
}

/// Indices of [rows, images, columns] from those of the first image, [rows, columns]: each image's are `step`
/// further than the one's before. Uint32, flat, as `index_select` takes them; for [`NOTHING`], the largest
/// number, it gives 0.
pub(crate) fn of_images(
    sources: Vec<u32>,
    images: usize,
    columns: usize,
    step: usize,
    device: &Device,
) -> Result<Tensor> {
    if images == 1 {
        return Tensor::new(sources, device);
    }
    let rows = sources.len() / columns.max(1);
    let gaps: Vec<u8> = sources.iter().map(|source| u8::from(*source == NOTHING)).collect();
    let first = sources.iter().map(|source| if *source == NOTHING { 0 } else { *source }).collect();
    let first: Tensor = Tensor::from_vec::<_, u32>(first, (rows, 1, columns), device)?;
    let steps: Vec<u32> = (0..images).map(|image| (image * step) as u32).collect();
    let mut indices = first.broadcast_add(&Tensor::from_vec(steps, (1, images, 1), device)?)?;
    if gaps.contains(&1) {
        let shape = indices.shape().clone();
        let nothing = Tensor::new(&[NOTHING], device)?.broadcast_as(&shape)?;
        let gaps = Tensor::from_vec(gaps, (rows, 1, columns), device)?.broadcast_as(&shape)?;
        indices = gaps.where_cond(&nothing, &indices)?;
    }
    indices.flatten_all()
}

/// The sum over the second of three dimensions, in float32 where there is more than one term.
pub(crate) fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let (_, rows, _) = x.dims3()?;
    if rows == 1 {
        return x.squeeze(1);
    }
    let at_once = if rows < TERMS_OF_A_BLOCK { TERMS_OF_A_THREAD } else { rows };
    let mut sum: Option<Tensor> = None;
    for start in (0..rows).step_by(at_once) {
        let part = x.narrow(1, start, at_once.min(rows - start))?;
        let part = part.to_dtype(DType::F32)?.sum(1)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    match sum {
        Some(sum) => sum.to_dtype(x.dtype()),
        None => x.sum(1),
    }
}
