//! A page in the style of the report: one file that needs nothing else.

use super::html::Escaped;

/// The document around `sections`; `title` is HTML already.
pub(super) fn document(title: &str, sections: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body><main>\n{sections}</main></body>\n</html>\n",
        include_str!("style.css")
    )
}

/// The head of a page: what it is about, when it was made, and facts of one line.
pub(super) fn head(title: &str, created_at: &str, facts: &[(&str, String)]) -> String {
    let facts: Vec<String> =
        facts.iter().map(|(name, value)| format!("{} <b>{}</b>", Escaped(name), Escaped(value))).collect();
    format!(
        "<h1>{}</h1>\n<p class=\"quiet\">made {}</p>\n<p>{}</p>\n",
        Escaped(title),
        Escaped(created_at),
        facts.join(" \u{b7} ")
    )
}
