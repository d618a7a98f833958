//! One unit an operator, listed once. Families of operators that differ in one function (elementwise
//! functions, comparisons, reductions) share a file and are a line each there.

mod activation;
mod arg;
mod arithmetic;
mod attention;
mod batch_norm;
mod bits;
mod cast;
mod center_crop_pad;
mod class_loss;
mod classify;
mod col2im;
mod compare;
mod compress;
mod constant;
mod conv;
mod conv_transpose;
mod cross_entropy;
mod cumprod;
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
mod grid_sample;
mod group_norm;
mod huber_loss;
mod join;
mod layer_norm;
mod linear;
mod lp_norm;
mod lrn;
mod matmul;
mod max_unpool;
mod modulo;
mod non_max_suppression;
mod one_hot;
mod pad;
mod pool;
mod pow;
mod prelu;
mod quantized;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod rms_norm;
mod roi_align;
mod rotary;
mod rotate_halves;
mod scatter;
mod select;
mod shape;
mod sigmoid_cross_entropy;
mod silu;
mod slice;
mod softmax;
mod standard_attention;
mod tile;
mod top_k;
mod total;
mod transpose;
mod trilu;
mod unary;
mod unique;

use crate::Operator;

/// Every operator. A new one is a file here and a line in this list.
static LISTED: &[&dyn Operator] = &[
    // refit's own
    &attention::Attention,
    &batch_norm::BatchNorm::Refit,
    &cross_entropy::SoftmaxCrossEntropy,
    &huber_loss::HuberLoss,
    &sigmoid_cross_entropy::SigmoidCrossEntropy,
    &dropout::Dropout::Refit,
    &gelu::Gelu::Refit,
    &layer_norm::LayerNorm::Refit,
    &linear::Linear,
    &rms_norm::RmsNorm::Refit,
    &rotate_halves::RotateHalves,
    &silu::Silu,
    // the standard's
    &arg::Arg::Max,
    &arg::Arg::Min,
    &arg::Hardmax,
    &arithmetic::Arithmetic::Add,
    &arithmetic::Arithmetic::Div,
    &arithmetic::Arithmetic::Mul,
    &arithmetic::Arithmetic::Sub,
    &batch_norm::BatchNorm::Standard,
    &bits::Bits::And,
    &bits::Bits::Not,
    &bits::Bits::Or,
    &bits::Bits::Shift,
    &bits::Bits::Xor,
    &cast::Cast::Like,
    &cast::Cast::To,
    &class_loss::ClassLoss::LogProbabilities,
    &class_loss::ClassLoss::Scores,
    &center_crop_pad::CENTER_CROP_PAD,
    &classify::Classify::IsInf,
    &classify::Classify::IsNaN,
    &col2im::Col2Im,
    &compare::Not,
    &compress::COMPRESS,
    &compress::REVERSE_SEQUENCE,
    &constant::Constant,
    &constant::ConstantOfShape,
    &constant::Range,
    &conv::Conv,
    &conv_transpose::ConvTranspose,
    &cumprod::CumProd,
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
    &global_pool::GlobalPool::Lp,
    &global_pool::GlobalPool::Max,
    &grid_sample::GridSample,
    &group_norm::GroupNorm::Group,
    &group_norm::GroupNorm::Instance,
    &join::Concat,
    &join::Split,
    &layer_norm::LayerNorm::Standard,
    &lp_norm::LpNormalization,
    &lp_norm::MeanVarianceNormalization,
    &lrn::Lrn,
    &matmul::MatMul,
    &max_unpool::MAX_UNPOOL,
    &modulo::Mod,
    &non_max_suppression::NonMaxSuppression,
    &one_hot::OneHot,
    &pad::Pad,
    &pool::Pooling::Average,
    &pool::Pooling::Lp,
    &pool::Pooling::Max,
    &pow::Pow,
    &prelu::PRelu,
    &quantized::ConvInteger::Plain,
    &quantized::ConvInteger::Scaled,
    &quantized::DequantizeLinear,
    &quantized::DynamicQuantizeLinear,
    &quantized::ProductInteger::Plain,
    &quantized::ProductInteger::Scaled,
    &quantized::QuantizeLinear,
    &recurrent::Recurrent::Gru,
    &recurrent::Recurrent::Lstm,
    &recurrent::Recurrent::Rnn,
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
    &resize::Resize::Resize,
    &resize::Resize::Upsample,
    &rms_norm::RmsNorm::Standard,
    &roi_align::RoiAlign,
    &rotary::RotaryEmbedding,
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
    &standard_attention::StandardAttention,
    &tile::TILE,
    &top_k::TopK,
    &total::Total::Mean,
    &total::Total::Sum,
    &transpose::Transpose,
    &trilu::TRILU,
    &unique::Unique,
];

/// Every operator that is supported.
pub fn all() -> impl Iterator<Item = &'static dyn Operator> {
    let activations = activation::ALL.iter().map(|op| op as &dyn Operator);
    let unary = unary::ALL.iter().map(|op| op as &dyn Operator);
    let compare = compare::ALL.iter().map(|op| op as &dyn Operator);
    LISTED.iter().copied().chain(activations).chain(unary).chain(compare)
}
