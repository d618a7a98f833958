//! The Open Inference Protocol over gRPC, at the same addresses as HTTP: a connection that speaks HTTP/2 may carry both,
//! so TLS, limits and the drain of one are those of the other. Also the health checking protocol of gRPC.

mod describe;
mod edge;
mod health;
mod infer;
mod messages;
mod service;
mod status;
mod stream;

use std::sync::Arc;

use axum::Router;
use tonic::{codec::CompressionEncoding, service::Routes};

use self::{
    health::HealthService,
    messages::{
        health::health_server::HealthServer,
        inference::grpc_inference_service_server::GrpcInferenceServiceServer,
    },
    service::InferenceService,
};
use crate::app::App;

pub(crate) use edge::edge;

/// The routes of all gRPC services. A message, inflated, may be as large as a request body.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let inference = GrpcInferenceServiceServer::new(InferenceService::new(app))
        .max_decoding_message_size(app.max_body_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    let health = HealthServer::new(HealthService::new(app));
    // A path that is none of these is answered as any other.
    Routes::new(inference).add_service(health).into_axum_router().reset_fallback()
}
