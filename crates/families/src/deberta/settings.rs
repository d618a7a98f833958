use crate::{FamilyError, config::Config, transformer::Sizes};
use serde_json::Value;

/// What is special in a DeBERTa's configuration.
pub(super) struct Settings {
    /// Whether the embeddings of tokens hold their positions too.
    pub(super) absolute_positions: bool,
    /// Factor of the scores.
    pub(super) scale: f32,
    /// `None` where attention does not look at them.
    pub(super) distances: Option<Distances>,
    pub(super) convolution: Option<Convolution>,
}

/// How attention looks at distances.
#[derive(Debug, Clone)]
pub(super) struct Distances {
    /// Half the rows of their table.
    pub(super) span: usize,
    /// Number of buckets, and the distance that the last one reaches to. `None`: a row for each distance.
    buckets: Option<(i64, i64)>,
    /// Whether the table goes through the projections of keys and queries.
    pub(super) shared: bool,
    pub(super) content_to_position: bool,
    pub(super) position_to_content: bool,
    /// Whether the table is normalised.
    pub(super) normalized: bool,
}

/// The convolution beside the first layer.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    pub(super) kernel: usize,
    pub(super) groups: usize,
    /// Whether its activation is tanh; else GELU.
    pub(super) tanh: bool,
}

impl Settings {
    pub(super) fn read(config: &Config, sizes: &Sizes) -> Result<Self, FamilyError> {
        let width = sizes.hidden / sizes.heads;
        if config.optional::<usize>("attention_head_size")?.is_some_and(|size| size != width) {
            return Err(config.bad("attention_head_size", "hidden_size divided by num_attention_heads"));
        }
        let kinds = position_kinds(config)?;
        let has = |kind: &str| kinds.iter().any(|given| given == kind);
        let (content_to_position, position_to_content) = (has("c2p"), has("p2c"));
        let terms = 1 + usize::from(content_to_position) + usize::from(position_to_content);
        let is_relative = config.optional::<bool>("relative_attention")?.unwrap_or(false);
        let normalization = config.optional::<String>("norm_rel_ebd")?.unwrap_or_default().to_lowercase();
        let (span, buckets) = span(config, sizes)?;
        let distances = Distances {
            span,
            buckets,
            shared: config.optional::<bool>("share_att_key")?.unwrap_or(false),
            content_to_position,
            position_to_content,
            normalized: normalization.split('|').any(|what| what.trim() == "layer_norm"),
        };
        Ok(Self {
            absolute_positions: config.optional::<bool>("position_biased_input")?.unwrap_or(true),
            scale: ((width * terms) as f32).sqrt().recip(),
            distances: is_relative.then_some(distances),
            convolution: convolution(config, sizes)?,
        })
    }
}

impl Distances {
    /// The bucket of `query - key`: a row each up to half of them, then rows that grow geometrically.
    pub(super) fn bucket(&self, distance: i64) -> i64 {
        let Some((buckets, furthest)) = self.buckets else { return distance };
        let middle = buckets / 2;
        let away = distance.abs();
        if away <= middle {
            return distance;
        }
        // In float32, as it was when the model was trained.
        let (away, half) = (away as f32, middle as f32);
        let share = (away / half).ln() / ((furthest - 1) as f32 / half).ln();
        ((share * (half - 1.0)).ceil() as i64 + middle) * distance.signum()
    }
}

/// `pos_att_type`: a list, or its entries between bars.
fn position_kinds(config: &Config) -> Result<Vec<String>, FamilyError> {
    let kinds: Vec<String> = match config.optional::<Value>("pos_att_type")? {
        None => Vec::new(),
        Some(Value::String(text)) => text.split('|').map(|kind| kind.trim().to_lowercase()).collect(),
        Some(list) => serde_json::from_value(list).unwrap_or_else(|_| vec!["?".to_owned()]),
    };
    match kinds.iter().all(|kind| ["", "c2p", "p2c"].contains(&kind.as_str())) {
        true => Ok(kinds),
        false => Err(config.bad("pos_att_type", "made of \"c2p\" and \"p2c\"")),
    }
}

/// Half the rows of the table of distances, and the buckets.
fn span(config: &Config, sizes: &Sizes) -> Result<(usize, Option<(i64, i64)>), FamilyError> {
    const MOST: i64 = 1 << 20;
    let furthest = match config.optional::<i64>("max_relative_positions")?.unwrap_or(-1) {
        ..1 => sizes.positions as i64,
        given => given,
    };
    if furthest > MOST {
        return Err(config.bad("max_relative_positions", "at most 2^20"));
    }
    match config.optional::<i64>("position_buckets")?.unwrap_or(-1) {
        ..1 => Ok((furthest as usize, None)),
        buckets if buckets >= 2 && buckets / 2 < furthest - 1 => {
            Ok((buckets as usize, Some((buckets, furthest))))
        }
        _ => Err(config.bad(
            "position_buckets",
            &format!("from 2 to below twice the furthest distance ({}), or -1", furthest - 1),
        )),
    }
}

fn convolution(config: &Config, sizes: &Sizes) -> Result<Option<Convolution>, FamilyError> {
    let kernel = config.optional::<usize>("conv_kernel_size")?.unwrap_or(0);
    let groups = config.optional::<usize>("conv_groups")?.unwrap_or(1);
    let activation = config.optional::<String>("conv_act")?;
    if kernel == 0 {
        return Ok(None);
    }
    if kernel.is_multiple_of(2) || kernel > 1024 {
        return Err(config.bad("conv_kernel_size", "odd and below 1024: the text keeps its length"));
    }
    if groups == 0 || !sizes.hidden.is_multiple_of(groups) {
        return Err(config.bad("conv_groups", &format!("a divisor of hidden_size ({})", sizes.hidden)));
    }
    let tanh = match activation.as_deref() {
        None | Some("tanh") => true,
        Some("gelu") => false,
        Some(_) => return Err(config.bad("conv_act", "\"tanh\" or \"gelu\"")),
    };
    Ok(Some(Convolution { kernel, groups, tanh }))
}

#[cfg(test)]
mod tests {
    use super::Distances;
    use serde_json::Value;

    #[test]
    fn buckets_are_those_of_transformers() {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/data/tiny-deberta-v2/expected.json")).unwrap();
        for (buckets, furthest, key) in [(8, 20, "buckets"), (256, 512, "buckets_of_v3")] {
            let distances = Distances {
                span: 8,
                buckets: Some((buckets, furthest)),
                shared: false,
                content_to_position: true,
                position_to_content: true,
                normalized: false,
            };
            let expected: Vec<i64> = serde_json::from_value(reference[key].clone()).unwrap();
            let far = expected.len() as i64 / 2;
            assert_eq!((-far..=far).map(|d| distances.bucket(d)).collect::<Vec<_>>(), expected, "{key}");
        }
    }
}
