//! `refit predict`: answers without a service.

use crate::cli::PredictArguments;
use crate::home::{Home, block_on};
use anyhow::Result;
use refit_artifact::Bundle;
use refit_predictor::{Answer, Entity, Input, LoadOptions, Prediction, Predictor};
use serde_json::{Map, Value, json};
use std::io::BufRead;
use std::path::PathBuf;

pub fn run(arguments: &PredictArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (version, artifact) = block_on(home.artifact_of(arguments.version.as_deref()))?;
    let predictor = Predictor::load(&Bundle::open(artifact)?, &home.engines(), &LoadOptions::default())?;
    let texts: Vec<String> = match arguments.texts.as_slice() {
        [] => std::io::stdin().lock().lines().collect::<std::io::Result<_>>()?,
        texts => texts.to_vec(),
    };
    if let Some(pair) = &arguments.pair {
        let inputs: Vec<Input<'_>> = texts.iter().map(|text| Input { text, pair: Some(pair) }).collect();
        return print(&texts, predictor.predict_batch(&inputs)?, &version, arguments.json);
    }
    print(&texts, predictor.predict_batch(&texts)?, &version, arguments.json)
}

fn print(texts: &[String], answers: Vec<Prediction>, version: &str, as_json: bool) -> Result<()> {
    for (text, answer) in texts.iter().zip(answers) {
        let confidence = answer.answer.confidence();
        if as_json {
            let mut line = describe(&answer.answer);
            line.insert("text".to_owned(), json!(text));
            line.insert("version".to_owned(), json!(version));
            line.extend(confidence.map(|confidence| ("confidence".to_owned(), json!(confidence))));
            println!("{}", Value::Object(line));
        } else {
            let confidence = confidence.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
            println!("{}\t{confidence}\t{text}", answer.answer.short());
        }
    }
    Ok(())
}

fn describe(answer: &Answer) -> Map<String, Value> {
    let object = match answer {
        Answer::Class { label, probabilities, .. } => {
            json!({ "label": &**label, "probabilities": probabilities })
        }
        Answer::Labels { labels, probabilities } => {
            let labels: Vec<&str> = labels.iter().map(|label| &**label).collect();
            json!({ "labels": labels, "probabilities": probabilities })
        }
        Answer::Number(number) => json!({ "value": number }),
        Answer::Entities { entities, .. } => {
            let one = |entity: &Entity| {
                json!({
                    "type": entity.kind, "text": entity.text, "start": entity.start, "end": entity.end,
                    "probability": entity.probability,
                })
            };
            json!({ "entities": entities.iter().map(one).collect::<Vec<_>>() })
        }
        Answer::Span(Some(span)) => json!({ "answer": span.text, "start": span.start, "end": span.end }),
        Answer::Span(None) => json!({ "answer": null }),
        Answer::Vector(values) => json!({ "embedding": values }),
    };
    if let Value::Object(object) = object { object } else { Map::new() }
}
