//! `ModelStreamInfer`: requests as they come, answers in their order. A refusal is an answer too, and the stream goes on.

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt, stream};
use tonic::{Status, Streaming};

use super::{
    infer::{model_infer, parameter},
    messages::inference::{
        ModelInferRequest, ModelInferResponse, ModelStreamInferResponse, infer_parameter::ParameterChoice,
    },
};
use crate::app::App;

/// Requests of one stream that may be under way. More are not read, so that the client has to wait.
const UNDER_WAY: usize = 16;

/// A client sets this parameter to be told with a parameter that an answer is the last one to its request.
const WANTS_FINAL: &str = "triton_enable_empty_final_response";
const IS_FINAL: &str = "triton_final_response";

pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

/// Answers until the client has no more requests, or the service stops: then what is under way is answered, and the
/// stream ends with a status that lets the client go elsewhere.
pub(super) fn answers(
    app: &Arc<App>,
    key: Option<String>,
    requests: Streaming<ModelInferRequest>,
) -> Answers {
    let stopping = stopping(app);
    let for_answers = Arc::clone(app);
    let answers = requests
        .take_until(stopping)
        .map(move |request| {
            let (app, key) = (Arc::clone(&for_answers), key.clone());
            async move { Ok(answer(&app, key.as_deref(), request?).await) }
        })
        .buffered(UNDER_WAY);
    let app = Arc::clone(app);
    let end = stream::once(async move { app.is_draining() })
        .filter_map(async |stops| stops.then(|| Err(Status::unavailable("the service is stopping"))));
    Box::pin(answers.chain(end))
}

fn stopping(app: &App) -> impl Future<Output = ()> + Send + 'static {
    let mut draining = app.draining.subscribe();
    async move {
        // An error means that the service is gone.
        let _ = draining.wait_for(|draining| *draining).await;
    }
}

async fn answer(app: &App, key: Option<&str>, request: ModelInferRequest) -> ModelStreamInferResponse {
    let (name, id) = (request.model_name.clone(), request.id.clone());
    let wants_final = request
        .parameters
        .get(WANTS_FINAL)
        .is_some_and(|parameter| parameter.parameter_choice == Some(ParameterChoice::BoolParam(true)));
    let (error_message, mut response) = match model_infer(app, key, request).await {
        Ok(response) => (String::new(), response),
        // The client finds the request by its id.
        Err(error) => {
            (error.message, ModelInferResponse { model_name: name, id, ..ModelInferResponse::default() })
        }
    };
    if wants_final {
        response.parameters.insert(IS_FINAL.to_owned(), parameter(ParameterChoice::BoolParam(true)));
    }
    ModelStreamInferResponse { error_message, infer_response: Some(response) }
}
