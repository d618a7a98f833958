use refit_artifact::{Precision, Serving, files};

/// Which form of the model to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// What the manifest says; float32 in tract where that cannot be had.
    #[default]
    AsManifest,
    /// The manifest's file in this engine if it was made for it, else float32; an error when the engine is missing.
    InEngine(String),
    /// Exactly this precision in exactly this engine.
    Exactly {
        /// The engine's name.
        engine: String,
        /// The precision.
        precision: Precision,
    },
}

/// Which file runs in which engine, and why: for the log and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The engine's name.
    pub engine: String,
    /// The file in the artifact.
    pub file: String,
    /// The file's precision.
    pub precision: Precision,
    /// One sentence.
    pub reason: String,
}

/// Chooses the form to load. `why_not` tells for an engine's name why it cannot be used, `None` when it can.
/// Fails with the name and the reason of an engine that was asked for and is missing.
pub(crate) fn choose(
    serving: &Serving,
    form: &Form,
    why_not: impl Fn(&str) -> Option<String>,
) -> Result<Choice, (String, String)> {
    let available = |engine: &str| match why_not(engine) {
        Some(reason) => Err((engine.to_owned(), reason)),
        None => Ok(engine.to_owned()),
    };
    let measured = |reason: String| Choice {
        engine: serving.engine.clone(),
        file: serving.file.clone(),
        precision: serving.precision,
        reason,
    };
    match form {
        Form::Exactly { engine, precision } => Ok(of_precision(
            available(engine)?,
            *precision,
            "this engine and precision were asked for".to_owned(),
        )),
        Form::InEngine(engine) if *engine == serving.engine => {
            available(engine)?;
            Ok(measured(serving.reason.clone()))
        }
        Form::InEngine(engine) => {
            let reason = format!("{engine} was asked for; the model was measured for {}", serving.engine);
            Ok(of_precision(available(engine)?, Precision::Float32, reason))
        }
        Form::AsManifest => match why_not(&serving.engine) {
            None => Ok(measured(serving.reason.clone())),
            Some(missing) => {
                // An int8 file was accepted because it is faster in its own engine; in another it may be slower.
                let reason =
                    format!("{} cannot be used ({missing}), so float32 runs in tract", serving.engine);
                Ok(of_precision(refit_engine_tract::NAME.to_owned(), Precision::Float32, reason))
            }
        },
    }
}

fn of_precision(engine: String, precision: Precision, reason: String) -> Choice {
    let file = match precision {
        Precision::Float32 => files::MODEL_FLOAT32,
        Precision::Int8 => files::MODEL_INT8,
    };
    Choice { engine, file: file.to_owned(), precision, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Serving {
        Serving {
            file: files::MODEL_INT8.into(),
            precision: Precision::Int8,
            engine: "onnxruntime".into(),
            reason: "int8 is 2.1 times faster".into(),
        }
    }

    fn check(form: Form, onnxruntime: bool, expected: Result<(&str, Precision, &str), &str>) {
        let why_not = |name: &str| (name == "onnxruntime" && !onnxruntime).then(|| "no library".to_owned());
        let found = choose(&serving(), &form, why_not);
        match (found, expected) {
            (Ok(choice), Ok((engine, precision, reason))) => {
                assert_eq!(
                    (choice.engine.as_str(), choice.precision, choice.reason.as_str()),
                    (engine, precision, reason)
                );
                let file =
                    if precision == Precision::Int8 { files::MODEL_INT8 } else { files::MODEL_FLOAT32 };
                assert_eq!(choice.file, file);
            }
            (Err((engine, reason)), Err(name)) => {
                assert_eq!((engine.as_str(), reason.as_str()), (name, "no library"))
            }
            (found, expected) => panic!("found {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_manifest_is_followed_where_it_can_be() {
        use Precision::{Float32, Int8};
        let in_engine = |name: &str| Form::InEngine(name.to_owned());
        let exactly = |name: &str, precision| Form::Exactly { engine: name.to_owned(), precision };
        let faster = "int8 is 2.1 times faster";
        let fallback = "onnxruntime cannot be used (no library), so float32 runs in tract";
        let other = "tract was asked for; the model was measured for onnxruntime";
        let asked = "this engine and precision were asked for";

        check(Form::AsManifest, true, Ok(("onnxruntime", Int8, faster)));
        check(Form::AsManifest, false, Ok(("tract", Float32, fallback)));
        check(in_engine("onnxruntime"), true, Ok(("onnxruntime", Int8, faster)));
        check(in_engine("onnxruntime"), false, Err("onnxruntime"));
        check(in_engine("tract"), true, Ok(("tract", Float32, other)));
        check(exactly("tract", Int8), false, Ok(("tract", Int8, asked)));
        check(exactly("onnxruntime", Float32), false, Err("onnxruntime"));
    }
}
