//! The protocol's methods.

use std::{collections::HashMap, sync::Arc};

use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    infer::model_infer,
    messages::inference::{
        grpc_inference_service_server::GrpcInferenceService, model_metadata_response::TensorMetadata, *,
    },
    stream::{self, Answers},
};
use crate::{
    api_error::{ApiError, Code},
    app::App,
    oip::{self, SHARED_MEMORY, unsupported},
    repository,
    routes::predict::KEY_HEADER,
};

pub(super) struct InferenceService(Arc<App>);

type Reply<T> = Result<Response<T>, Status>;

impl InferenceService {
    pub fn new(app: &Arc<App>) -> Self {
        Self(Arc::clone(app))
    }
}

/// The sticky key of a request.
fn key(metadata: &MetadataMap) -> Result<Option<&str>, ApiError> {
    let key = metadata.get(KEY_HEADER).map(|value| value.to_str()).transpose();
    key.map_err(|_| ApiError::new(Code::Malformed, format!("the metadata {KEY_HEADER} must be plain ASCII")))
}

/// An empty version stands for none.
fn named(version: &str) -> Option<&str> {
    (!version.is_empty()).then_some(version)
}

fn no_shared_memory<T>() -> Reply<T> {
    Err(unsupported(SHARED_MEMORY).into())
}

#[tonic::async_trait]
impl GrpcInferenceService for InferenceService {
    type ModelStreamInferStream = Answers;

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Reply<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Reply<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Reply<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        // A model that there is not is not ready: that is the answer, not a failure.
        let ready = match oip::is_model_ready(&self.0, &name, named(&version)) {
            Err(ApiError { code: Code::NotFound, .. }) => false,
            ready => ready?,
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Reply<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: oip::SERVER.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: oip::EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Reply<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let metadata = oip::model_metadata(&self.0, &name, named(&version)).await?;
        let port = |port: oip::Port| TensorMetadata {
            name: port.name.to_owned(),
            datatype: port.datatype.name().to_owned(),
            shape: port.shape,
        };
        Ok(Response::new(ModelMetadataResponse {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform,
            inputs: metadata.inputs.into_iter().map(port).collect(),
            outputs: metadata.outputs.into_iter().map(port).collect(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Reply<ModelInferResponse> {
        let (metadata, _, request) = request.into_parts();
        Ok(Response::new(model_infer(&self.0, key(&metadata)?, request).await?))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Reply<Self::ModelStreamInferStream> {
        let key = key(request.metadata())?.map(str::to_owned);
        Ok(Response::new(stream::answers(&self.0, key, request.into_inner())))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Reply<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let config = oip::config(&self.0, &name, named(&version)).await?;
        Ok(Response::new(ModelConfigResponse { config: Some(config.into()) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Reply<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let statistics = oip::statistics(&self.0, named(&name), named(&version))?;
        let model_stats = statistics.into_iter().map(ModelStatistics::from).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Reply<RepositoryIndexResponse> {
        let entries = repository::index(&self.0, request.get_ref().ready).await?;
        let entry = |entry: repository::IndexEntry| repository_index_response::ModelIndex {
            state: entry.state().to_owned(),
            reason: entry.reason.to_owned(),
            name: entry.model,
            version: entry.version,
        };
        Ok(Response::new(RepositoryIndexResponse { models: entries.into_iter().map(entry).collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Reply<RepositoryModelLoadResponse> {
        let request = request.into_inner();
        if !request.parameters.is_empty() {
            let what = "loading a model with a configuration or files of the request";
            return Err(unsupported(what).into());
        }
        repository::load(&self.0, &request.model_name).await?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Reply<RepositoryModelUnloadResponse> {
        repository::unload(&self.0, &request.get_ref().model_name).await?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }

    async fn system_shared_memory_status(
        &self,
        _: Request<SystemSharedMemoryStatusRequest>,
    ) -> Reply<SystemSharedMemoryStatusResponse> {
        no_shared_memory()
    }

    async fn system_shared_memory_register(
        &self,
        _: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Reply<SystemSharedMemoryRegisterResponse> {
        no_shared_memory()
    }

    async fn system_shared_memory_unregister(
        &self,
        _: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Reply<SystemSharedMemoryUnregisterResponse> {
        no_shared_memory()
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Reply<CudaSharedMemoryStatusResponse> {
        no_shared_memory()
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Reply<CudaSharedMemoryRegisterResponse> {
        no_shared_memory()
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Reply<CudaSharedMemoryUnregisterResponse> {
        no_shared_memory()
    }

    async fn trace_setting(&self, request: Request<TraceSettingRequest>) -> Reply<TraceSettingResponse> {
        if !request.get_ref().settings.is_empty() {
            return Err(unsupported("changing trace settings").into());
        }
        let value = |value: &str| trace_setting_response::SettingValue { value: vec![value.to_owned()] };
        let settings: HashMap<_, _> =
            oip::trace_settings().into_iter().map(|(name, it)| (name.to_owned(), value(it))).collect();
        Ok(Response::new(TraceSettingResponse { settings }))
    }

    async fn log_settings(&self, request: Request<LogSettingsRequest>) -> Reply<LogSettingsResponse> {
        use log_settings_response::{SettingValue, setting_value::ParameterChoice};
        if !request.get_ref().settings.is_empty() {
            return Err(unsupported("changing log settings").into());
        }
        let value = |logs| SettingValue { parameter_choice: Some(ParameterChoice::BoolParam(logs)) };
        let settings: HashMap<_, _> =
            oip::log_settings().into_iter().map(|(name, logs)| (name.to_owned(), value(logs))).collect();
        Ok(Response::new(LogSettingsResponse { settings }))
    }
}
