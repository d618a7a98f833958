//! The messages and services that `build.rs` makes from `proto/`.
#![allow(clippy::all, reason = "generated code")]

pub(super) mod inference {
    tonic::include_proto!("inference");
}

pub(super) mod health {
    tonic::include_proto!("grpc.health.v1");
}
