//! Reads what is left of a small request before its answer is sent. A client that is still sending takes a stream that is
//! closed for a broken one, and never sees why it was refused: curl 7 over HTTP/2, for one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio::{sync::oneshot, time::timeout};

/// The most that is read for nobody.
const MOST: usize = 64 * 1024;
/// The longest that is waited for it.
const LONGEST: Duration = Duration::from_millis(500);

pub(crate) async fn rest(request: Request, next: Next) -> Response {
    let (back, mut given_back) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body: Some(body), back: Some(back) }));
    let response = next.run(request).await;
    if let Ok(body) = given_back.try_recv() {
        let _ = timeout(LONGEST, discard(body)).await;
    }
    response
}

async fn discard(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut read = 0;
    while read < MOST
        && let Some(Ok(chunk)) = chunks.next().await
    {
        read += chunk.len();
    }
}

/// A body that is given back when whoever had it drops it before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            // At its end, or broken: nothing is left to read.
            self.back = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_end_stream()
            && let (Some(body), Some(back)) = (self.body.take(), self.back.take())
        {
            let _ = back.send(body);
        }
    }
}
