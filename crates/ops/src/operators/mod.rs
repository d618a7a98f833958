//! One unit an operator, listed once. Families of operators that differ in one function (elementwise
//! functions, comparisons, reductions) share a file and are a line each there.

mod activation;
mod arg;
mod arithmetic;
mod attention;
mod batch_norm;
mod bits;
mod cast;
mod classify;
mod compare;
mod compress;
mod constant;
mod conv;
mod conv_transpose;
mod cross_entropy;
mod cumsum;
mod depth_space;
mod dropout;
mod einsum;
mod extremes;
mod eye;
mod gather;
mod gather_nd;
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
mod modulo;
mod one_hot;
mod pad;
mod pool;
mod pow;
mod prelu;
mod reduce;
mod reshape;
mod rms_norm;
mod scatter;
mod select;
mod shape;
mod slice;
mod softmax;
mod tile;
mod top_k;
mod total;
mod transpose;
mod trilu;
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
    &arg::Arg::Max,
    &arg::Arg::Min,
    &arg::Hardmax,
    &arithmetic::Arithmetic::Add,
    &arithmetic::Arithmetic::Div,
    &arithmetic::Arithmetic::Mul,
    &arithmetic::Arithmetic::Sub,
    &batch_norm::BatchNormalization,
    &bits::Bits::And,
    &bits::Bits::Not,
    &bits::Bits::Or,
    &bits::Bits::Shift,
    &bits::Bits::Xor,
    &cast::Cast,
    &classify::Classify::IsInf,
    &classify::Classify::IsNaN,
    &compare::Not,
    &compress::COMPRESS,
    &compress::REVERSE_SEQUENCE,
    &constant::Constant,
    &constant::ConstantOfShape,
    &constant::Range,
    &conv::Conv,
    &conv_transpose::ConvTranspose,
    &cumsum::CumSum,
    &depth_space::DEPTH_TO_SPACE,
    &depth_space::SPACE_TO_DEPTH,
    &dropout::Dropout::Standard,
    &einsum::Einsum,
    &extremes::Clip,
    &extremes::Extreme::Max,
    &extremes::Extreme::Min,
    &eye::EyeLike,
    &eye::NonZero,
    &gather::Gather,
    &gather::GatherElements,
    &gather_nd::GATHER_ND,
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
    &modulo::Mod,
    &one_hot::OneHot,
    &pad::Pad,
    &pool::Pooling::Average,
    &pool::Pooling::Lp,
    &pool::Pooling::Max,
    &pow::Pow,
    &prelu::PRelu,
    &reduce::Reduce::L1,
    &reduce::Reduce::L2,
    &reduce::Reduce::LogSum,
    &reduce::Reduce::LogSumExp,
    &reduce::Reduce::Max,
    &reduce::Reduce::Mean,
    &reduce::Reduce::Min,
    &reduce::Reduce::Prod,
    &reduce::Reduce::Sum,
    &reduce::Reduce::SumSquare,
    &reshape::Reshaping::Flatten,
    &reshape::Reshaping::Identity,
    &reshape::Reshaping::Reshape,
    &reshape::Reshaping::Squeeze,
    &reshape::Reshaping::Unsqueeze,
    &rms_norm::RmsNormalization,
    &scatter::Scatter::Elements,
    &scatter::Scatter::Old,
    &scatter::Scatter::Slices,
    &select::Expand,
    &select::Where,
    &shape::Shape,
    &shape::Size,
    &slice::Slice,
    &softmax::Softmax::LogSoftmax,
    &softmax::Softmax::Softmax,
    &tile::TILE,
    &top_k::TopK,
    &total::Total::Mean,
    &total::Total::Sum,
    &transpose::Transpose,
    &trilu::TRILU,
];

/// Every operator that is supported.
pub fn all() -> impl Iterator<Item = &'static dyn Operator> {
    let activations = activation::ALL.iter().map(|op| op as &dyn Operator);
    let unary = unary::ALL.iter().map(|op| op as &dyn Operator);
    let compare = compare::ALL.iter().map(|op| op as &dyn Operator);
    LISTED.iter().copied().chain(activations).chain(unary).chain(compare)
}
