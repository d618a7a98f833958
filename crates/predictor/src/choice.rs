use refit_artifact::{EngineSearch, Precision, Serving};
use refit_engine::Device;

/// Which form of the model to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// What the manifest says; float32 in tract where that cannot be had. On a GPU, where one engine computes there, what
    /// is made for it.
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
    /// What the engine computes on.
    pub device: Device,
    /// One sentence.
    pub reason: String,
}

/// Chooses the form to load. `on_gpu` is the engine that computes on a GPU, if one does; `why_not` tells for an engine's
/// name why it cannot be used, `None` when it can. Fails with the name and the reason of an engine that was asked for and is
/// missing.
pub(crate) fn choose(
    serving: &Serving,
    searches: &[EngineSearch],
    form: &Form,
    on_gpu: Option<&str>,
    why_not: impl Fn(&str) -> Option<String>,
) -> Result<Choice, (String, String)> {
    let asked = match form {
        Form::AsManifest => on_gpu,
        Form::InEngine(engine) => on_gpu.filter(|on_gpu| *on_gpu == engine.as_str()),
        Form::Exactly { engine, .. } => {
            let choice = choose_on_cpu(serving, searches, form, why_not)?;
            let device = if on_gpu == Some(engine.as_str()) { Device::Cuda } else { Device::Cpu };
            return Ok(Choice { device, ..choice });
        }
    };
    match asked {
        Some(engine) => Ok(for_gpu(serving, searches, engine)),
        None => choose_on_cpu(serving, searches, form, why_not),
    }
}

/// What a GPU serves: the measured file if it computes in floating point, else float32. Products of integers have no
/// kernels there, and what was found to be fast was found on a processor.
fn for_gpu(serving: &Serving, searches: &[EngineSearch], engine: &str) -> Choice {
    let measured = measured_in(serving, searches, engine);
    let found = measured.as_ref().map_or(serving.precision, |choice| choice.precision);
    let choice = match measured {
        Some(choice) if matches!(choice.precision, Precision::Float32 | Precision::Float16) => choice,
        _ => of_precision(engine.to_owned(), Precision::Float32, String::new()),
    };
    let reason = if choice.precision == found {
        format!("{engine} computes on a GPU, which serves the {found} that was chosen")
    } else {
        format!(
            "{engine} computes on a GPU, where float32 serves in place of {found}, which is for processors"
        )
    };
    Choice { device: Device::Cuda, reason, ..choice }
}

fn choose_on_cpu(
    serving: &Serving,
    searches: &[EngineSearch],
    form: &Form,
    why_not: impl Fn(&str) -> Option<String>,
) -> Result<Choice, (String, String)> {
    let available = |engine: &str| match why_not(engine) {
        Some(reason) => Err((engine.to_owned(), reason)),
        None => Ok(engine.to_owned()),
    };
    match form {
        Form::Exactly { engine, precision } => Ok(of_precision(
            available(engine)?,
            *precision,
            "this engine and precision were asked for".to_owned(),
        )),
        Form::InEngine(engine) => {
            let engine = available(engine)?;
            let reason = format!("{engine} was asked for; the model was measured for {}", serving.engine);
            Ok(measured_in(serving, searches, &engine)
                .unwrap_or_else(|| of_precision(engine, Precision::Float32, reason)))
        }
        Form::AsManifest => match why_not(&serving.engine) {
            None => Ok(as_measured(serving)),
            Some(missing) => {
                let tract = refit_engine_tract::NAME;
                let missing = format!("{} cannot be used ({missing})", serving.engine);
                // A file was accepted because it is faster in its own engine; in another it may be slower.
                Ok(match measured_in(serving, searches, tract) {
                    Some(choice) => {
                        Choice { reason: format!("{missing}; in {tract}, {}", choice.reason), ..choice }
                    }
                    None => {
                        let reason = format!("{missing}, so float32 runs in {tract}");
                        of_precision(tract.to_owned(), Precision::Float32, reason)
                    }
                })
            }
        },
    }
}

/// What was measured to be the best in an engine.
fn measured_in(serving: &Serving, searches: &[EngineSearch], engine: &str) -> Option<Choice> {
    let searched = searches.iter().map(|search| &search.serving);
    std::iter::once(serving).chain(searched).find(|serving| serving.engine == engine).map(as_measured)
}

fn as_measured(serving: &Serving) -> Choice {
    Choice {
        engine: serving.engine.clone(),
        file: serving.file.clone(),
        precision: serving.precision,
        device: Device::Cpu,
        reason: serving.reason.clone(),
    }
}

fn of_precision(engine: String, precision: Precision, reason: String) -> Choice {
    Choice { engine, file: precision.file().to_owned(), precision, device: Device::Cpu, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_artifact::files;

    fn serving() -> Serving {
        Serving {
            file: files::MODEL_INT8.into(),
            precision: Precision::Int8,
            float_layers: Vec::new(),
            engine: "onnxruntime".into(),
            reason: "int8 is 2.1 times faster".into(),
        }
    }

    /// That int8 is best in tract too.
    fn searched() -> EngineSearch {
        let serving =
            Serving { engine: "tract".into(), reason: "int8 is 1.4 times faster".into(), ..serving() };
        EngineSearch { serving, machine: String::new(), candidates: Vec::new(), sensitivity: Vec::new() }
    }

    fn check(form: Form, onnxruntime: bool, expected: Result<(&str, Precision, &str), &str>) {
        check_with(&[], form, onnxruntime, expected);
    }

    fn check_with(
        searches: &[EngineSearch],
        form: Form,
        onnxruntime: bool,
        expected: Result<(&str, Precision, &str), &str>,
    ) {
        let why_not = |name: &str| (name == "onnxruntime" && !onnxruntime).then(|| "no library".to_owned());
        let found = choose(&serving(), searches, &form, None, why_not);
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

    #[test]
    fn an_engine_serves_what_was_measured_in_it() {
        let searches = [searched()];
        let slower = "int8 is 1.4 times faster";
        let in_tract = Form::InEngine("tract".to_owned());
        check_with(&searches, in_tract, true, Ok(("tract", Precision::Int8, slower)));
        let fallback = "onnxruntime cannot be used (no library); in tract, int8 is 1.4 times faster";
        check_with(&searches, Form::AsManifest, false, Ok(("tract", Precision::Int8, fallback)));
        check_with(
            &searches,
            Form::AsManifest,
            true,
            Ok(("onnxruntime", Precision::Int8, "int8 is 2.1 times faster")),
        );
    }

    #[test]
    fn a_gpu_serves_floating_point() {
        let check =
            |serving: &Serving, searches: &[EngineSearch], form: Form, expected: (&str, &str, Device)| {
                let found = choose(serving, searches, &form, Some("onnxruntime"), |_| None).unwrap();
                assert_eq!((&*found.engine, &*found.file, found.device), expected);
                found.reason
            };
        let in_engine = |name: &str| Form::InEngine(name.to_owned());
        let float32 = ("onnxruntime", files::MODEL_FLOAT32, Device::Cuda);
        for form in [Form::AsManifest, in_engine("onnxruntime")] {
            let reason = check(&serving(), &[], form, float32);
            let int8 = "onnxruntime computes on a GPU, where float32 serves in place of int8, which is for processors";
            assert_eq!(reason, int8);
        }
        // A model that was measured for tract alone, without ONNX Runtime.
        let for_tract = searched().serving;
        check(&for_tract, &[], Form::AsManifest, float32);
        let half = Serving { file: files::MODEL_FLOAT16.into(), precision: Precision::Float16, ..serving() };
        let reason = check(
            &half,
            &[searched()],
            Form::AsManifest,
            ("onnxruntime", files::MODEL_FLOAT16, Device::Cuda),
        );
        assert_eq!(reason, "onnxruntime computes on a GPU, which serves the float16 that was chosen");
        // tract has no GPU, and what is asked for exactly is not second-guessed.
        let searches = [searched()];
        check(&serving(), &searches, in_engine("tract"), ("tract", files::MODEL_INT8, Device::Cpu));
        let exactly = Form::Exactly { engine: "onnxruntime".into(), precision: Precision::Int8 };
        check(&serving(), &[], exactly, ("onnxruntime", files::MODEL_INT8, Device::Cuda));
    }
}
