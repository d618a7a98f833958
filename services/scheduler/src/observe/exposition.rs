//! Reads Prometheus' text format: as much of it as the inference service writes.

use std::collections::BTreeMap;

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` for parts of a histogram.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label, empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All samples; lines that cannot be read are left out and counted.
pub fn parse(text: &str) -> (Vec<Sample>, usize) {
    let mut samples = Vec::new();
    let mut broken = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match sample(line) {
            Some(sample) => samples.push(sample),
            None => broken += 1,
        }
    }
    (samples, broken)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    // A timestamp may follow the value.
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// Reads `a="x",b="y"}` and returns what follows.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after;
    }
}

/// Reads up to the closing quote, undoing `\\`, `\"` and `\n`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, name: &str, labels: &[(&str, &str)], value: f64) {
        let (samples, broken) = parse(line);
        assert_eq!(broken, 0, "{line}");
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(samples, [Sample { name: name.to_owned(), labels, value }]);
    }

    #[test]
    fn lines_of_the_format() {
        check("up 1", "up", &[], 1.0);
        check(
            "a_total{model=\"m\",version=\"1\"} 17 1690000000",
            "a_total",
            &[("model", "m"), ("version", "1")],
            17.0,
        );
        check(r#"a{bin="01 \"x\\y\"",} 2.5e3"#, "a", &[("bin", r#"01 "x\y""#)], 2500.0);
        check("b_bucket{le=\"+Inf\"} +Inf", "b_bucket", &[("le", "+Inf")], f64::INFINITY);
        check("a{bin=\"09 {a, b} = c\"} 4", "a", &[("bin", "09 {a, b} = c")], 4.0);
    }

    #[test]
    fn what_the_prometheus_crate_writes_is_read_back() {
        let counter =
            prometheus::IntCounterVec::new(prometheus::Opts::new("c_total", "c"), &["bin"]).unwrap();
        counter.with_label_values(&["\\ \" \n }"]).inc_by(3);
        let registry = prometheus::Registry::new();
        registry.register(Box::new(counter)).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        check(&text, "c_total", &[("bin", "\\ \" \n }")], 3.0);
    }

    #[test]
    fn broken_lines_are_counted() {
        let (samples, broken) = parse("# HELP a b\n\na{b=\"c 1\nd\ne x\nf 1\n");
        assert_eq!((samples.len(), broken), (1, 3));
    }
}
