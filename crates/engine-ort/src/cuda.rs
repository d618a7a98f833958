//! ONNX Runtime's CUDA provider: whether the library that is loaded can use a GPU, and how sessions there are set up.

use std::path::PathBuf;

use ort::ep::{CUDA, ExecutionProvider, ExecutionProviderDispatch, cuda::ConvAlgorithmSearch};
use prost::Message;
use refit_engine::{Device, Engine, EngineError, SessionOptions, Tensor, without_panic};
use refit_graph::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

use crate::OnnxRuntime;

/// Why ONNX Runtime cannot compute on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum NoCuda {
    /// The library has no such provider.
    #[error(
        "{} is built without CUDA: run `refit engine install onnxruntime --device cuda`, or let `serve.onnxruntime` \
         name the library of the wheel onnxruntime-gpu", .library.display()
    )]
    NotBuilt {
        /// The library.
        library: PathBuf,
    },
    /// The library has the provider, and nothing can be computed with it.
    #[error(
        "{} is built with CUDA and finds no GPU to use ({reason}): `nvidia-smi` has to list one, and LD_LIBRARY_PATH to \
         name the folders of CUDA 13 and cuDNN 9", .library.display()
    )]
    NoGpu {
        /// The library.
        library: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
}

impl OnnxRuntime {
    /// The same library, whose sessions compute on the first GPU. One is made and run to see that it works.
    ///
    /// # Errors
    /// [`NoCuda`], which says what is missing and what to do.
    pub fn on_cuda(&self) -> Result<Self, NoCuda> {
        let library = self.library.clone();
        match without_panic(CUDA::is_available) {
            Ok(Ok(true)) => {}
            Ok(Ok(false) | Err(_)) | Err(_) => return Err(NoCuda::NotBuilt { library }),
        }
        let on_gpu = Self { device: Device::Cuda, ..self.clone() };
        match try_out(&on_gpu) {
            Ok(()) => Ok(on_gpu),
            Err(EngineError::Load { reason, .. } | EngineError::Run { reason, .. }) => {
                Err(NoCuda::NoGpu { library, reason: without_place(&reason).to_owned() })
            }
            Err(error) => Err(NoCuda::NoGpu { library, reason: error.to_string() }),
        }
    }
}

/// A message of ONNX Runtime without the place in its source and the number of the error that it may begin with:
/// `file.cc:7 function [ONNXRuntimeError] : 1 : FAIL : what happened`.
fn without_place(message: &str) -> &str {
    let said = message.split_once("[ONNXRuntimeError] : ").and_then(|(_, rest)| rest.splitn(3, " : ").nth(2));
    said.unwrap_or(message)
}

/// The provider as sessions of this crate use it: where it cannot be, the session fails instead of running elsewhere.
pub(crate) fn provider() -> ExecutionProviderDispatch {
    CUDA::default()
        .with_device_id(0)
        // Products with 10 bits of each factor would be further from the trained model than the golden examples allow.
        .with_tf32(false)
        // The other search times every algorithm anew for every length of a text.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        .build()
        .error_on_failure()
}

fn try_out(runtime: &OnnxRuntime) -> Result<(), EngineError> {
    let model = square();
    let mut session = runtime.load(model.as_slice().into(), &SessionOptions::default())?;
    let x = Tensor::f32([2, 2], vec![1.0, 2.0, 3.0, 4.0])?;
    session.run(&[("x", &x)]).map(drop)
}

/// `y = x x` for a float32 matrix: the smallest model that needs the GPU's library of products.
fn square() -> Vec<u8> {
    const FLOAT: i32 = 1;
    let port = |name: &str| {
        let tensor_type = Some(TensorTypeProto { elem_type: Some(FLOAT), ..Default::default() });
        let r#type = Some(Box::new(TypeProto { tensor_type, ..Default::default() }));
        ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
    };
    let product = NodeProto {
        op_type: Some("MatMul".into()),
        input: vec!["x".into(), "x".into()],
        output: vec!["y".into()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("square".into()),
        node: vec![product],
        input: vec![port("x")],
        output: vec![port("y")],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { version: Some(17), ..Default::default() }],
        graph: Some(Box::new(graph)),
        ..Default::default()
    };
    model.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_told() {
        let message = "/src/bridge.cc:7 Provider& Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library a.so with \
                       error: b.so: cannot open : no such file";
        let told = "Failed to load library a.so with error: b.so: cannot open : no such file";
        assert_eq!(without_place(message), told);
        assert_eq!(without_place("no driver"), "no driver");
    }
}
