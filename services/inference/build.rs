//! Makes the gRPC messages and service traits from `proto/`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["inference.proto", "health.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .compile_fds(descriptors)?;
    Ok(())
}
