use crate::{Graph, HostTensor, ValueId, onnx};
use bytes::Bytes;
use std::{collections::BTreeMap, fmt};

/// The domain of the operators of the ONNX standard.
pub const STANDARD_DOMAIN: &str = "";

/// The domain of refit's canonical operators (`Linear`, `Attention`, ...); a portable file has none.
pub const REFIT_DOMAIN: &str = "refit";

/// An operator's domain and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpName {
    /// `""` for the standard; `"ai.onnx"` is read as that too.
    pub domain: String,
    /// `MatMul`, `Gemm`, ...
    pub name: String,
}

impl OpName {
    /// An operator of the ONNX standard.
    pub fn standard(name: &str) -> Self {
        Self { domain: STANDARD_DOMAIN.to_owned(), name: name.to_owned() }
    }

    /// A canonical operator of refit's own.
    pub fn refit(name: &str) -> Self {
        Self { domain: REFIT_DOMAIN.to_owned(), name: name.to_owned() }
    }

    /// Whether this is operator `name` of the ONNX standard.
    pub fn is(&self, name: &str) -> bool {
        self.domain == STANDARD_DOMAIN && self.name == name
    }

    /// Whether this is refit's canonical operator `name`.
    pub fn is_refit(&self, name: &str) -> bool {
        self.domain == REFIT_DOMAIN && self.name == name
    }
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domain.as_str() {
            STANDARD_DOMAIN => f.write_str(&self.name),
            domain => write!(f, "{domain}.{}", self.name),
        }
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the standard's own names")]
pub enum Attribute {
    Int(i64),
    Float(f32),
    String(Bytes),
    Tensor(HostTensor),
    Graph(Box<Graph>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<Bytes>),
    /// An attribute that is carried through unread (types, sparse tensors, lists of graphs).
    Opaque(Box<onnx::proto::AttributeProto>),
}

/// One application of an operator. Absent optional inputs and outputs are `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name, for messages; may be empty.
    pub name: String,
    /// Which operator.
    pub op: OpName,
    /// Inputs in the operator's order.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs in the operator's order.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes that were given; defaults are the operator's business.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Node {
    /// Input `index`, if it is there.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Output `index`, if it is there.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        self.outputs.get(index).copied().flatten()
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name)? {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name)? {
            Attribute::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name)? {
            Attribute::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// A text attribute; `None` if it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)? {
            Attribute::String(value) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&HostTensor> {
        match self.attributes.get(name)? {
            Attribute::Tensor(value) => Some(value),
            _ => None,
        }
    }
}
