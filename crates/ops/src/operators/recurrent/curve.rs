//! Activation functions that recurrent operators name, with `alpha` and `beta`.

use crate::{OpError, Site};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Curve {
    Affine(f32, f32),
    Elu(f32),
    HardSigmoid(f32, f32),
    LeakyRelu(f32),
    Relu,
    ScaledTanh(f32, f32),
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
    ThresholdedRelu(f32),
}

impl Curve {
    /// The function of this name; where a parameter is absent the standard's default holds.
    pub fn named(site: &Site, name: &str, alpha: Option<f32>, beta: Option<f32>) -> Result<Self, OpError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "affine" => Self::Affine(alpha.unwrap_or(1.0), beta.unwrap_or(0.0)),
            "elu" => Self::Elu(alpha.unwrap_or(1.0)),
            "hardsigmoid" => Self::HardSigmoid(alpha.unwrap_or(0.2), beta.unwrap_or(0.5)),
            "leakyrelu" => Self::LeakyRelu(alpha.unwrap_or(0.01)),
            "relu" => Self::Relu,
            "scaledtanh" => Self::ScaledTanh(alpha.unwrap_or(1.0), beta.unwrap_or(1.0)),
            "sigmoid" => Self::Sigmoid,
            "softplus" => Self::Softplus,
            "softsign" => Self::Softsign,
            "tanh" => Self::Tanh,
            "thresholdedrelu" => Self::ThresholdedRelu(alpha.unwrap_or(1.0)),
            _ => {
                let why = format!("\"{name}\" is no activation function of the standard");
                return Err(OpError::Attribute { op: site.node.op.clone(), name: "activations", why });
            }
        })
    }

    /// How many of `alpha` and `beta` it takes from the node's lists.
    pub fn takes(name: &str) -> (bool, bool) {
        match name.to_ascii_lowercase().as_str() {
            "affine" | "hardsigmoid" | "scaledtanh" => (true, true),
            "elu" | "leakyrelu" | "thresholdedrelu" => (true, false),
            _ => (false, false),
        }
    }

    pub fn value(self, x: f32) -> f32 {
        match self {
            Self::Affine(a, b) => a * x + b,
            Self::Elu(a) => {
                if x > 0.0 {
                    x
                } else {
                    a * x.exp_m1()
                }
            }
            Self::HardSigmoid(a, b) => (a * x + b).clamp(0.0, 1.0),
            Self::LeakyRelu(a) => {
                if x > 0.0 {
                    x
                } else {
                    a * x
                }
            }
            Self::Relu => x.max(0.0),
            Self::ScaledTanh(a, b) => a * (b * x).tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Tanh => x.tanh(),
            Self::ThresholdedRelu(a) => {
                if x > a {
                    x
                } else {
                    0.0
                }
            }
        }
    }

    pub fn slope(self, x: f32) -> f32 {
        match self {
            Self::Affine(a, _) => a,
            Self::Elu(a) => {
                if x > 0.0 {
                    1.0
                } else {
                    a * x.exp()
                }
            }
            Self::HardSigmoid(a, b) => {
                if a * x + b > 0.0 && a * x + b < 1.0 {
                    a
                } else {
                    0.0
                }
            }
            Self::LeakyRelu(a) => {
                if x > 0.0 {
                    1.0
                } else {
                    a
                }
            }
            Self::Relu => {
                if x > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::ScaledTanh(a, b) => a * b * (1.0 - (b * x).tanh().powi(2)),
            Self::Sigmoid => self.value(x) * (1.0 - self.value(x)),
            Self::Softplus => Self::Sigmoid.value(x),
            Self::Softsign => (1.0 + x.abs()).powi(-2),
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::ThresholdedRelu(a) => {
                if x > a {
                    1.0
                } else {
                    0.0
                }
            }
        }
    }
}

/// A curve whose input is clipped to `[-clip, clip]` first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clipped {
    pub curve: Curve,
    pub clip: f32,
}

impl Clipped {
    pub fn value(self, x: f32) -> f32 {
        self.curve.value(x.clamp(-self.clip, self.clip))
    }

    pub fn slope(self, x: f32) -> f32 {
        if x.abs() > self.clip { 0.0 } else { self.curve.slope(x) }
    }
}
