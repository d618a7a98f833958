//! The console: one page without scripts. Which model serves and why, how to take it back, and what the loop sees.

use std::fmt::Write;

use axum::{
    extract::State as Shared,
    http::header,
    response::{Html, IntoResponse, Response},
};
use refit_stats::DriftVerdict;
use refit_store::Decision;

use super::{ApiError, Context, plot};
use crate::view::{Latest, View};

const STYLE: &str = include_str!("style.css");
const DECISIONS: u32 = 50;

pub(super) async fn console(Shared(context): Shared<Context>) -> Result<Response, ApiError> {
    let decisions = context.store.decisions(Some(context.config.model()), DECISIONS).await?;
    let page = render(context.config.model(), &command(&context), &context.board.latest(), &decisions);
    // No script runs here, whatever a label or a reason may contain.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    Ok(([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response())
}

/// How the command line names this model.
fn command(context: &Context) -> String {
    let config = &context.config;
    format!("{} --home {}", config.spec_path.display(), config.home.display())
}

fn render(model: &str, command: &str, latest: &Latest, decisions: &[Decision]) -> String {
    let mut body = String::new();
    if let Some(error) = &latest.error {
        let _ = write!(body, "<div class=alarm>The loop cannot look: {}</div>", escape(error));
    }
    match &latest.view {
        Some(view) => {
            body.push_str(&alarms(view));
            body.push_str(&serving(view, command));
            body.push_str(&live(view));
            body.push_str(&drift(view));
        }
        None => body.push_str("<p class=quiet>The loop has not looked yet.</p>"),
    }
    body.push_str(&table_of_decisions(decisions));
    let phase = latest.view.as_ref().map_or("starting", |view| view.memory.phase.name());
    let model = escape(model);
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=10><title>{model} · refit</title><style>{STYLE}</style></head><body>\
         <h1>{model}<span class=phase>{phase}</span></h1>{body}</body></html>"
    )
}

fn alarms(view: &View) -> String {
    let mut html = String::new();
    for missing in &view.state.missing {
        let (what, detail) = (escape(&missing.what), escape(&missing.detail));
        let _ = write!(html, "<div class=alarm><b>Not seen: {what}.</b> {detail}</div>");
    }
    for (key, since) in view.memory.alarms.iter().filter(|(key, _)| !key.starts_with("missing:")) {
        let _ = write!(html, "<div class=alarm><b>{}</b> since {}</div>", escape(key), time(*since));
    }
    html
}

fn serving(view: &View, command: &str) -> String {
    let deployment = &view.deployment;
    let mut html = String::from("<h2>Serving</h2>");
    let Some(champion) = &deployment.champion else {
        return html + "<p>No version serves yet: train and promote one.</p>";
    };
    let _ = write!(
        html,
        "<p><b>Version {}</b> since {} <span class=quiet>(by {})</span></p><p>Why: {}</p>",
        escape(&champion.version),
        time(champion.since.as_second()),
        escape(&champion.by),
        escape(&champion.reason),
    );
    if let Some(canary) = &deployment.canary {
        let _ = write!(
            html,
            "<p>Version {} is on canary with {} % of requests since {}: {}</p>",
            escape(&canary.version),
            canary.percent,
            time(canary.since.as_second()),
            escape(&canary.reason)
        );
    }
    if let Some(shadow) = &deployment.shadow {
        let _ = write!(
            html,
            "<p>Version {} is a shadow with a copy of {} % of the requests since {}: {}</p>",
            escape(&shadow.version),
            shadow.percent,
            time(shadow.since.as_second()),
            escape(&shadow.reason)
        );
    }
    let back = match (&deployment.canary, &deployment.previous) {
        (Some(canary), _) => Some(format!("Take canary {} back", escape(&canary.version))),
        (None, Some(previous)) => Some(format!("Go back to version {}", escape(previous))),
        (None, None) => None,
    };
    let model = escape(&view.state.model);
    if let Some(back) = back {
        let _ = write!(
            html,
            "<form class=row method=post action=\"/v1/models/{model}/rollback\">\
             <input name=reason placeholder=Why required><button>{back}</button>\
             <span class=quiet>or <code>refit rollback {}</code></span></form>",
            escape(command)
        );
    }
    let _ = write!(
        html,
        "<form class=row method=post action=\"/v1/models/{model}/refit\">\
         <input name=reason placeholder=Why required><button>Refit now</button></form>"
    );
    for reason in &view.plan.reasons {
        let _ = write!(html, "<p class=quiet>Now: {}</p>", escape(reason));
    }
    html
}

fn live(view: &View) -> String {
    let judge = &view.state.judge;
    let mut html = String::from("<h2>Live accuracy</h2>");
    let expected = match judge.baseline_accuracy {
        Some(baseline) => format!("expected {baseline:.3}"),
        None => "nothing to compare with".to_owned(),
    };
    match judge.accuracy {
        Some((estimate, lower, upper)) => {
            let class = if judge.alarmed { "bad" } else { "good" };
            let _ = write!(
                html,
                "<p><b class={class}>{estimate:.3}</b> [{lower:.3}, {upper:.3}] over {} labelled answers of this version, \
                 {expected}; {} labels since its training</p>",
                judge.labels, view.state.new_labels
            );
        }
        None => {
            let _ = write!(html, "<p><b>Unknown:</b> no labels for this version yet ({expected}).</p>");
        }
    }
    for (label, rows) in &view.state.unseen_labels {
        let _ =
            write!(html, "<p>The label <b>{}</b> ({rows} rows) is new to this version.</p>", escape(label));
    }
    if judge.baseline_accuracy.is_some() {
        html.push_str(&plot::wealth(&view.wealth, judge.threshold));
        html.push_str(
            "<p class=quiet>Evidence that the error rate exceeds what was promised, by a test that stays valid at \
             every look: above the dashed line the model counts as degraded.</p>",
        );
    }
    html
}

fn drift(view: &View) -> String {
    let mut html = String::from("<h2>Drift</h2>");
    let Some(verdict) = &view.drift else {
        return html + "<p class=quiet>The first window is being filled.</p>";
    };
    let _ = write!(
        html,
        "<p class=quiet>{} rows from {} to {}</p><table><tr><th>Feature<th class=number>PSI<th class=number>\
         p, corrected<th>Verdict</tr>",
        verdict.rows,
        time(verdict.from),
        time(verdict.until)
    );
    let mut features: Vec<_> = verdict.features.iter().collect();
    features.sort_by(|a, b| {
        let p = |feature: &refit_stats::FeatureDrift| feature.adjusted_p_value.unwrap_or(2.0);
        p(a).total_cmp(&p(b))
    });
    for feature in features {
        let psi = feature.test.map_or("–".to_owned(), |test| format!("{:.3}", test.psi));
        let p = feature.adjusted_p_value.map_or("–".to_owned(), |p| format!("{p:.1e}"));
        let verdict = match feature.verdict {
            DriftVerdict::Drifted => "<span class=bad>drifted</span>",
            DriftVerdict::Stable => "<span class=good>stable</span>",
            DriftVerdict::TooFew => "<span class=quiet>too few rows to say</span>",
        };
        let name = escape(&feature.feature);
        let _ = write!(html, "<tr><td>{name}<td class=number>{psi}<td class=number>{p}<td>{verdict}</tr>");
    }
    html + "</table>"
}

fn table_of_decisions(decisions: &[Decision]) -> String {
    let mut html = String::from("<h2>Decisions</h2>");
    if decisions.is_empty() {
        return html + "<p class=quiet>None yet.</p>";
    }
    html.push_str("<table><tr><th>When<th>What<th>Why</tr>");
    for decision in decisions.iter().rev() {
        let evidence = serde_json::to_string_pretty(&decision.evidence).unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td>{}<td><b>{}</b><td>{}<details><summary class=quiet>evidence</summary><pre>{}</pre></details></tr>",
            time(decision.decided_at.as_second()),
            escape(&decision.kind),
            escape(&decision.reason),
            escape(&evidence)
        );
    }
    html + "</table>"
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
