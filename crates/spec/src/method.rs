use std::fmt;
use std::str::FromStr;

use crate::reader::one_of;

/// What of the model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Everything.
    Full,
    /// The last layers and the head.
    Partial {
        /// How many layers, counted from the head.
        last_layers: usize,
    },
    /// The head only; the rest is computed once per example.
    FeatureExtraction,
    /// Low-rank updates of the attention's projections, merged before export (Hu et al. 2021).
    Lora {
        /// Rank of the update.
        rank: usize,
        /// The update is scaled by alpha / rank.
        alpha: f64,
        /// Which linear layers, by a part of their name. None: those that make queries and values, whatever
        /// the model calls them.
        targets: Vec<String>,
        /// Rate of the dropout before the update.
        dropout: f64,
    },
}

const EXPECTED: &str =
    "write \"full\", \"partial(last_layers = 2)\", \"feature-extraction\" or \"lora(rank = 8, alpha = 16)\"";

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => (name.trim(), rest.strip_suffix(')').ok_or(EXPECTED)?),
            None => (text, ""),
        };
        let mut arguments = Arguments::parse(arguments)?;
        let method = match name {
            "full" => Self::Full,
            "feature-extraction" => Self::FeatureExtraction,
            "partial" => Self::Partial { last_layers: arguments.count("last_layers")?.unwrap_or(2) },
            "lora" => {
                let rank = arguments.count("rank")?.unwrap_or(8);
                let alpha = arguments.number("alpha")?.unwrap_or(2.0 * rank as f64);
                let targets = arguments.names("targets").unwrap_or_default();
                let dropout = arguments.rate("dropout")?.unwrap_or(0.0);
                Self::Lora { rank, alpha, targets, dropout }
            }
            other => return Err(one_of(other, &["full", "partial", "feature-extraction", "lora"])),
        };
        arguments.finish(name)?;
        Ok(method)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Partial { last_layers } => write!(f, "partial(last_layers = {last_layers})"),
            Self::FeatureExtraction => f.write_str("feature-extraction"),
            Self::Lora { rank, alpha, targets, dropout } => {
                write!(f, "lora(rank = {rank}, alpha = {alpha}")?;
                if !targets.is_empty() {
                    write!(f, ", targets = {}", targets.join("+"))?;
                }
                if *dropout > 0.0 {
                    write!(f, ", dropout = {dropout}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// The `name = value` pairs between the parentheses.
struct Arguments(Vec<(String, String)>);

impl Arguments {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(EXPECTED)?;
            pairs.push((name.trim().to_string(), value.trim().to_string()));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    fn count(&mut self, name: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.parse() {
            Ok(count @ 1..=4096) => Ok(Some(count)),
            _ => Err(format!("{name} = {value}: write a whole number from 1 to 4096")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.parse::<f64>() {
            Ok(number) if number > 0.0 && number.is_finite() => Ok(Some(number)),
            _ => Err(format!("{name} = {value}: write a number above 0")),
        }
    }

    fn rate(&mut self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.parse::<f64>() {
            Ok(rate) if (0.0..1.0).contains(&rate) => Ok(Some(rate)),
            _ => Err(format!("{name} = {value}: write a number from 0 to below 1")),
        }
    }

    fn names(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.take(name)?;
        Some(value.split('+').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect())
    }

    fn finish(self, method: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("`{method}` takes no `{name}`: {EXPECTED}")),
        }
    }
}
