//! One unit an operator, listed once. Families of operators that differ in one function (elementwise
//! functions, comparisons, reductions) share a file and are a line each there.

mod arithmetic;
mod attention;
mod batch_norm;
mod cast;
mod compare;
mod constant;
mod conv;
mod conv_transpose;
mod cross_entropy;
mod cumsum;
mod dropout;
mod extremes;
mod gather;
mod gelu;
mod gemm;
mod global_pool;
mod group_norm;
mod join;
mod layer_norm;
mod linear;
mod lp_norm;
mod lrn;
mod matmul;
mod pool;
mod pow;
mod reduce;
mod reshape;
mod rms_norm;
mod select;
mod shape;
mod slice;
mod softmax;
mod transpose;
mod unary;

use crate::Operator;

/// Every operator. A new one is a file here and a line in this list.
static LISTED: &[&dyn Operator] = &[
    // refit's own
    &attention::Attention,
    &cross_entropy::SoftmaxCrossEntropy,
    &dropout::Dropout::Refit,
    &gelu::Gelu::Refit,
    &layer_norm::LayerNorm::Refit,
    &linear::Linear,
    // the standard's
    &arithmetic::Arithmetic::Add,
    &arithmetic::Arithmetic::Div,
    &arithmetic::Arithmetic::Mul,
    &arithmetic::Arithmetic::Sub,
    &batch_norm::BatchNormalization,
    &cast::Cast,
    &compare::Not,
    &constant::Constant,
    &constant::ConstantOfShape,
    &constant::Range,
    &conv::Conv,
    &conv_transpose::ConvTranspose,
    &cumsum::CumSum,
    &dropout::Dropout::Standard,
    &extremes::Clip,
    &extremes::Extreme::Max,
    &extremes::Extreme::Min,
    &gather::Gather,
    &gather::GatherElements,
    &gelu::Gelu::Standard,
    &gemm::Gemm,
    &global_pool::GlobalPool::Average,
    &global_pool::GlobalPool::Max,
    &group_norm::GroupNorm::Group,
    &group_norm::GroupNorm::Instance,
    &join::Concat,
    &join::Split,
    &layer_norm::LayerNorm::Standard,
    &lp_norm::LpNormalization,
    &lp_norm::MeanVarianceNormalization,
    &lrn::Lrn,
    &matmul::MatMul,
    &pool::Pooling::Average,
    &pool::Pooling::Lp,
    &pool::Pooling::Max,
    &pow::Pow,
    &reduce::Reduce::L2,
    &reduce::Reduce::Max,
    &reduce::Reduce::Mean,
    &reduce::Reduce::Min,
    &reduce::Reduce::Sum,
    &reduce::Reduce::SumSquare,
    &reshape::Reshaping::Flatten,
    &reshape::Reshaping::Identity,
    &reshape::Reshaping::Reshape,
    &reshape::Reshaping::Squeeze,
    &reshape::Reshaping::Unsqueeze,
    &rms_norm::RmsNormalization,
    &select::Expand,
    &select::Where,
    &shape::Shape,
    &shape::Size,
    &slice::Slice,
    &softmax::Softmax::LogSoftmax,
    &softmax::Softmax::Softmax,
    &transpose::Transpose,
];

/// Every operator that is supported.
pub fn all() -> impl Iterator<Item = &'static dyn Operator> {
    let unary = unary::ALL.iter().map(|op| op as &dyn Operator);
    let compare = compare::ALL.iter().map(|op| op as &dyn Operator);
    LISTED.iter().copied().chain(unary).chain(compare)
}
