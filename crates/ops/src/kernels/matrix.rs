//! Matrix products over strided views: on the CPU's matrix unit where it has one, else by the `gemm` crate.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::simd::dispatch;
use super::slices::unwritten;
use rayon::prelude::*;

/// A read-only matrix over a slice: rows, columns and the distance in elements between neighbours.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix that fills `data`.
    ///
    /// # Panics
    /// When `data` has not `rows * columns` elements.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "matrix size");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// A view with any strides.
    ///
    /// # Panics
    /// When an element lies outside `data`.
    pub fn strided(data: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        let [rows, columns] = shape;
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * strides[0] + (columns - 1) * strides[1] < data.len(),
            "matrix view"
        );
        Self { data, rows, columns, row_stride: strides[0], column_stride: strides[1] }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Distance in elements from one row to the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance in elements from one column to the next.
    pub fn column_stride(&self) -> usize {
        self.column_stride
    }

    /// One element.
    ///
    /// # Panics
    /// When it lies outside.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        self.data[row * self.row_stride + column * self.column_stride]
    }

    /// The memory from one element on.
    ///
    /// # Panics
    /// When it lies outside.
    pub fn from(&self, row: usize, column: usize) -> &'a [f32] {
        &self.data[row * self.row_stride + column * self.column_stride..]
    }

    /// `rows` rows from `first` on.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn below(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows of a matrix");
        let start = (first * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows, ..self }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write to: row-major with a row stride.
pub struct MatrixMut<'a> {
    data: Target<'a>,
    row_stride: usize,
}

enum Target<'a> {
    Slice(&'a mut [f32]),
    /// Part of a buffer whose other parts are written by other tasks.
    Shared(*mut f32),
}

impl<'a> MatrixMut<'a> {
    /// Rows of `row_stride` elements, each from its beginning.
    pub fn new(data: &'a mut [f32], row_stride: usize) -> Self {
        Self { data: Target::Slice(data), row_stride }
    }

    /// A block of a buffer that other tasks write to at the same time.
    ///
    /// # Safety
    /// The block must lie inside a live buffer, and nobody else may touch its elements meanwhile.
    pub(super) unsafe fn shared(data: *mut f32, row_stride: usize) -> Self {
        Self { data: Target::Shared(data), row_stride }
    }
}

/// How a product is stored and computed.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether to add to what is there.
    pub accumulate: bool,
    /// Whether one product uses all threads; not inside a parallel loop.
    pub parallel: bool,
}

impl Product {
    /// Overwrites, on all threads.
    pub const PARALLEL: Self = Self { alpha: 1.0, accumulate: false, parallel: true };
    /// Overwrites, on this thread.
    pub const SERIAL: Self = Self { alpha: 1.0, accumulate: false, parallel: false };
}

/// `c = alpha * a b`, or `c += alpha * a b`.
///
/// # Panics
/// When the shapes do not fit.
pub fn multiply(c: MatrixMut, a: Matrix, b: Matrix, how: Product) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner dimensions");
    let target = match c.data {
        Target::Slice(data) => {
            assert!(m == 0 || n == 0 || (m - 1) * c.row_stride + n <= data.len(), "target size");
            data.as_mut_ptr()
        }
        Target::Shared(pointer) => pointer,
    };
    if m == 0 || n == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if amx::pays(m, k, n) && amx::is_available() {
        // SAFETY: the target's size was checked above, or is vouched for by the caller of `shared`.
        unsafe { amx::multiply(target, c.row_stride, &a, &b, how) };
        return;
    }
    let parallelism = match how.parallel {
        true => gemm::Parallelism::Rayon(rayon::current_num_threads()),
        false => gemm::Parallelism::None,
    };
    // SAFETY: every element of `a` and `b` was checked to lie in its slice when the views were made, that
    // of the target above or by the caller of `shared`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target,
            1,
            c.row_stride as isize,
            how.accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            how.alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Sums of the columns of a row-major matrix `columns` wide: the gradient of a bias.
pub fn column_sums(data: &[f32], columns: usize) -> Vec<f32> {
    if columns == 0 {
        return Vec::new();
    }
    let rows = (data.len() / columns).div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Vec<f32>> = data
        .par_chunks(rows * columns)
        .map(|part| {
            let mut sums = vec![0f32; columns];
            dispatch(
                #[inline(always)]
                || {
                    for row in part.chunks_exact(columns) {
                        for (sum, &x) in sums.iter_mut().zip(row) {
                            *sum += x;
                        }
                    }
                },
            );
            sums
        })
        .collect();
    let mut sums = vec![0f32; columns];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// `x W + bias` for rows of `x`; `weight` is seen as [K, N]. An empty bias stands for zeros.
pub fn linear(x: Matrix, weight: Matrix, bias: &[f32]) -> Vec<f32> {
    let columns = weight.columns;
    let mut y = unwritten(x.rows * columns);
    if !bias.is_empty() {
        y.par_chunks_mut(columns * 64)
            .for_each(|rows| rows.chunks_exact_mut(columns).for_each(|row| row.copy_from_slice(bias)));
    }
    let how = Product { accumulate: !bias.is_empty(), ..Product::PARALLEL };
    multiply(MatrixMut::new(&mut y, columns), x, weight, how);
    y
}

/// `a b` into a new row-major matrix, on all threads.
pub fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    linear(a, b, &[])
}
