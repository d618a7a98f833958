//! The inference service as its callers see it: real sockets, real files, tiny artifacts. One binary, linked once.

mod access;
mod answers;
mod bad_input;
mod clients;
mod connections;
mod fuzz_http;
mod inventory;
mod lifecycle;
mod many_models;
mod overload;
mod protocols;
mod same_texts;
mod sampling;
mod scheduling;
mod service;
mod shadow;
mod telemetry;
mod tls;
mod watching;
