//! ONNX bytes to graph and back.

pub mod proto {
    //! The messages of ONNX.

    /// `AttributeProto`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AttributeProto {}
}

/// What a file carries that refit does not look into.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {}
