//! Convolution as one product: the patches of all images side by side, picked by one `index_select`, are a
//! matrix [groups, inputs of a group * kernel, images * positions]. The weight from the left gives the output,
//! its transpose the patches' gradient, and the output's gradient times the transposed patches that of the
//! weight. Depthwise convolutions are products with as many groups as channels.
//!
//! candle's own convolutions take no asymmetrical pads, no strides that differ and no third dimension.

use super::table::{Table, Windows, of_images, sum_rows};
use crate::kernels::conv::Sizes;
use candle_core::{DType, Result, Tensor};

/// Elements of patches that are made at a time: 512 MiB of float32.
const PATCH_ELEMENTS: usize = 1 << 27;

/// A convolution, whose patches are made for some images at a time.
pub(crate) struct Convolution<'a> {
    sizes: &'a Sizes,
    table: Table,
    images_at_once: usize,
}

impl<'a> Convolution<'a> {
    pub fn new(sizes: &'a Sizes) -> Self {
        let Sizes { input, output, kernel, strides, dilations, pads, .. } = *sizes;
        let table = Table::of_windows(&Windows { input, output, kernel, strides, dilations, pads });
        let of_image = sizes.in_channels * table.rows * table.columns.max(table.from);
        let images_at_once = (PATCH_ELEMENTS / of_image.max(1)).max(1);
        Self { sizes, table, images_at_once }
    }

    /// What [`crate::kernels::conv::forward`] computes, [batch, out, positions], without the bias.
    pub fn forward(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let sizes = self.sizes;
        let weight = self.grouped_weight(weight)?;
        let x = x.reshape((sizes.batch, sizes.in_channels, sizes.input_len()))?;
        self.by_parts(&x, |x| {
            let (images, y) = (x.dim(0)?, weight.matmul(&self.patches(x)?)?);
            images_first(&y.reshape((sizes.out_channels, images, sizes.output_len()))?)
        })
    }

    /// What [`crate::kernels::conv::input_gradient`] computes, [batch, in, positions].
    pub fn input_gradient(&self, gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (sizes, table) = (self.sizes, &self.table);
        let (channels, positions, columns) = (sizes.in_channels, table.from, table.columns);
        let readers = table.inverse();
        let weight = self.grouped_weight(weight)?.transpose(1, 2)?;
        let gradient = gradient.reshape((sizes.batch, sizes.out_channels, columns))?;
        self.by_parts(&gradient, |gradient| {
            let images = gradient.dim(0)?;
            let patches = weight.matmul(&self.grouped(gradient)?)?;
            if readers.is_identity() {
                return images_first(&patches.reshape((channels, images, positions))?);
            }
            // A tap's positions lie image by image: [in, kernel, images, positions].
            let width = columns * images;
            let place = |reader: &u32| match *reader as usize {
                at if at < readers.from => (at / columns * width + at % columns) as u32,
                _ => *reader,
            };
            let first = readers.sources.iter().map(place).collect();
            let indices = of_images(first, images, positions, columns, gradient.device())?;
            let read = patches.reshape((channels, table.rows * width))?.index_select(&indices, 1)?;
            let sums = sum_rows(&read.reshape((channels, readers.rows, images * positions))?)?;
            images_first(&sums.reshape((channels, images, positions))?)
        })
    }

    /// What [`crate::kernels::conv::weight_gradient`] computes, [groups, outputs of a group, patch].
    pub fn weight_gradient(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let sizes = self.sizes;
        let x = x.reshape((sizes.batch, sizes.in_channels, sizes.input_len()))?;
        let gradient = gradient.reshape((sizes.batch, sizes.out_channels, sizes.output_len()))?;
        let shape = (sizes.groups, sizes.group_outputs(), sizes.patch_len());
        let mut sum = Tensor::zeros(shape, DType::F32, x.device())?;
        for start in (0..sizes.batch).step_by(self.images_at_once) {
            let images = self.images_at_once.min(sizes.batch - start);
            let patches = self.patches(&x.narrow(0, start, images)?)?;
            let gradient = self.grouped(&gradient.narrow(0, start, images)?)?;
            sum = (sum + gradient.matmul(&patches.transpose(1, 2)?)?.to_dtype(DType::F32)?)?;
        }
        sum.to_dtype(gradient.dtype())
    }

    /// `f` of some images at a time, put together again.
    fn by_parts(&self, x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (batch, at_once) = (x.dim(0)?, self.images_at_once);
        if batch <= at_once {
            return f(x);
        }
        let part = |start: usize| f(&x.narrow(0, start, at_once.min(batch - start))?);
        Tensor::cat(&(0..batch).step_by(at_once).map(part).collect::<Result<Vec<_>>>()?, 0)
    }

    /// The patches of [images, in, positions], [groups, patch, images * outputs].
    fn patches(&self, x: &Tensor) -> Result<Tensor> {
        let (images, channels, positions) = x.dims3()?;
        let columns = self.table.columns;
        let shape = (self.sizes.groups, self.sizes.patch_len(), images * columns);
        let x = x.transpose(0, 1)?.contiguous()?;
        if self.table.is_identity() {
            return x.reshape(shape);
        }
        let indices = of_images(self.table.sources.clone(), images, columns, positions, x.device())?;
        x.reshape((channels, images * positions))?.index_select(&indices, 1)?.reshape(shape)
    }

    /// The weight as [groups, outputs of a group, patch].
    fn grouped_weight(&self, weight: &Tensor) -> Result<Tensor> {
        let sizes = self.sizes;
        weight.contiguous()?.reshape((sizes.groups, sizes.group_outputs(), sizes.patch_len()))
    }

    /// [images, out, positions] as [groups, outputs of a group, images * positions].
    fn grouped(&self, gradient: &Tensor) -> Result<Tensor> {
        let (images, _, positions) = gradient.dims3()?;
        let gradient = gradient.transpose(0, 1)?.contiguous()?;
        gradient.reshape((self.sizes.groups, self.sizes.group_outputs(), images * positions))
    }
}

/// The gradient of a bias, [channels], from one of [batch, channels, ..].
pub(crate) fn bias_gradient(gradient: &Tensor, channels: usize) -> Result<Tensor> {
    let batch = gradient.dim(0)?;
    let positions = gradient.dims()[2..].iter().product::<usize>();
    let rows = gradient.to_dtype(DType::F32)?.reshape((batch, channels, positions))?;
    rows.sum((0, 2))?.to_dtype(gradient.dtype())
}

/// [channels, images, positions] as [images, channels, positions].
fn images_first(x: &Tensor) -> Result<Tensor> {
    x.transpose(0, 1)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn images_may_be_taken_in_parts() {
        let sizes = Sizes {
            batch: 5,
            in_channels: 4,
            out_channels: 6,
            groups: 2,
            input: [1, 5, 4],
            output: [1, 3, 4],
            kernel: [1, 3, 2],
            strides: [1, 2, 1],
            dilations: [1; 3],
            pads: [0, 1, 1],
        };
        let tensor = |shape: &[usize], step: f32| {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|i| (i as f32 * step).sin()).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).expect("the sizes fit")
        };
        let (x, weight) = (tensor(&[5, 4, 20], 0.7), tensor(&[6, 2, 6], 0.3));
        let gradient = tensor(&[5, 6, 12], 0.9);
        let at_once = |images_at_once: usize| {
            let convolution = Convolution { images_at_once, ..Convolution::new(&sizes) };
            let made = [
                convolution.forward(&x, &weight),
                convolution.input_gradient(&gradient, &weight),
                convolution.weight_gradient(&x, &gradient),
            ];
            made.map(|made| made.and_then(|made| made.flatten_all()?.to_vec1::<f32>()).expect("it runs"))
        };
        for (whole, parts) in at_once(5).into_iter().flatten().zip(at_once(2).into_iter().flatten()) {
            assert!((whole - parts).abs() < 1e-5, "{whole} and {parts}");
        }
    }
}
