//! Text that is safe inside HTML, and the few shapes that the page repeats.

use std::fmt;

use refit_stats::Interval;

/// Text from outside, escaped for element content and for quoted attributes.
pub(super) struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML knows no control characters but white space.
                control if control.is_control() && !control.is_whitespace() => f.write_str("\u{fffd}")?,
                plain => write!(f, "{plain}")?,
            }
        }
        Ok(())
    }
}

/// At most `limit` characters: what is cut comes out of the middle, since names of classes often
/// share their beginnings.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= limit {
        return text.to_owned();
    }
    let kept = limit.saturating_sub(1);
    let head = &characters[..kept / 2];
    let tail = &characters[characters.len() - (kept - kept / 2)..];
    head.iter().chain(&['\u{2026}']).chain(tail).collect()
}

/// A table; `head` are plain words of ours, cells are HTML.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{tag}>{cell}</{tag}>")).collect()
    };
    let body: String = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", cells("td", &mut row.iter().map(String::as_str))))
        .collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n",
        cells("th", &mut head.iter().copied())
    )
}

/// An estimate and, smaller, its interval.
pub(super) fn interval(value: &Interval) -> String {
    let digits = |x: f64| format!("{x:.3}");
    format!(
        "{}&nbsp;<span class=\"range\">[{}, {}]</span>",
        digits(value.estimate),
        digits(value.lower),
        digits(value.upper)
    )
}

/// The same for what may be undefined.
pub(super) fn optional_interval(value: &Option<Interval>) -> String {
    value.as_ref().map_or_else(|| "<span class=\"range\">undefined</span>".to_owned(), interval)
}

/// Thousands apart.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in the unit that reads best.
pub(super) fn bytes(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} B"),
        1_000..1_000_000 => format!("{:.1} kB", value as f64 / 1e3),
        _ => format!("{:.1} MB", value as f64 / 1e6),
    }
}
