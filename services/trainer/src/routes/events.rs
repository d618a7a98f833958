use super::{ApiError, Context};
use crate::follow::Lines;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

/// Where one reader of a run's events is.
struct Reader {
    context: Context,
    id: String,
    lines: Lines,
    waiting: VecDeque<String>,
    /// Number of the next line; the id of its event.
    next: usize,
    ended: bool,
}

/// Every event from the first, or from the one after `Last-Event-ID`; `end` with the run comes last.
pub async fn stream(
    State(context): State<Context>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    context.queue.get(&id).ok_or_else(|| ApiError::unknown(&id))?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let lines = Lines::from_start(&context.queue.files(&id).events());
    let reader = Reader { context, id, lines, waiting: VecDeque::new(), next: 0, ended: false };
    let skip = last.map_or(0, |last| last.saturating_add(1));
    let events = stream::unfold(reader, move |mut reader| async move {
        let event = reader.event(skip).await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

impl Reader {
    async fn event(&mut self, skip: usize) -> Option<Event> {
        const LOOK: Duration = Duration::from_millis(200);
        loop {
            while let Some(line) = self.waiting.pop_front() {
                let number = self.next;
                self.next += 1;
                if number >= skip {
                    return Some(Event::default().id(number.to_string()).data(line));
                }
            }
            if self.ended || *self.context.stop.borrow() {
                return None;
            }
            // Asked before the file is read: what is written before the end is there when the end is seen.
            let run = self.context.queue.get(&self.id)?;
            self.waiting.extend(self.lines.next());
            if !self.waiting.is_empty() {
                continue;
            }
            if run.status.is_final() {
                self.ended = true;
                let data = json!({ "status": run.status, "error": run.error, "outcome": run.outcome });
                return Some(Event::default().event("end").data(data.to_string()));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.context.stop.changed() => {}
            }
        }
    }
}
