//! gRPC's own health checking: the server's readiness, for probes and balancers.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::messages::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};
use crate::app::App;

pub(super) struct HealthService(Arc<App>);

/// How often a watched status is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The names that may be asked for; the empty one stands for the whole server.
const KNOWN: [&str; 3] = ["", "inference.GRPCInferenceService", "grpc.health.v1.Health"];

impl HealthService {
    pub fn new(app: &Arc<App>) -> Self {
        Self(Arc::clone(app))
    }
}

fn status(app: &App) -> ServingStatus {
    if app.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !KNOWN.contains(&service.as_str()) {
            return Err(Status::not_found(format!("there is no service {service:?}")));
        }
        Ok(Response::new(HealthCheckResponse { status: status(&self.0).into() }))
    }

    /// Ends with the service, when nothing more will change.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (app, known) = (Arc::clone(&self.0), KNOWN.contains(&request.get_ref().service.as_str()));
        let changes = stream::unfold((None, false), move |(last, ended)| {
            let app = Arc::clone(&app);
            async move {
                if ended {
                    return None;
                }
                let mut now = if known { status(&app) } else { ServingStatus::ServiceUnknown };
                while last == Some(now) && !app.is_draining() {
                    tokio::time::sleep(LOOK).await;
                    now = if known { status(&app) } else { now };
                }
                let response = HealthCheckResponse { status: now.into() };
                Some((Ok(response), (Some(now), app.is_draining())))
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
