//! Folders that are not what they should be: one clear sentence each.

use refit_families::{Base, FamilyError, Pooling, load};
use serde_json::{Value, json};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A copy of a tiny model to damage.
struct Folder(TempDir);

impl Folder {
    /// BERT.
    fn new() -> Self {
        Self::of("bert")
    }

    fn of(family: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for file in ["config.json", "model.safetensors"] {
            fs::copy(source(family).join(file), folder.path(file)).unwrap();
        }
        folder
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    fn weights(&self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let path = self.path("model.safetensors");
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    }

    fn load(&self) -> Result<Base, FamilyError> {
        load(self.0.path())
    }

    /// The message of the error with its causes.
    fn message(&self) -> String {
        let error = self.load().expect_err("it loads");
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        message
    }
}

fn source(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("tiny-{family}"))
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// The header of a safetensors file, changed; the data after it stays.
fn with_header(file: Vec<u8>, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let size = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(file[8..8 + size].to_vec()).unwrap());
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[8 + size..]].concat()
}

#[test]
fn a_folder_that_is_not_there() {
    let message = load(Path::new("/nowhere/model")).unwrap_err().to_string();
    says(&message, &["/nowhere/model", "cannot be read"]);
}

#[test]
fn a_file_of_another_kind() {
    let folder = Folder::new();
    let message = load(&folder.path("model.safetensors")).unwrap_err().to_string();
    says(&message, &["neither a Hugging Face folder nor an .onnx file"]);
}

#[test]
fn missing_settings_are_named_all_at_once() {
    let folder = Folder::new();
    folder.configure(|config| {
        config.as_object_mut().unwrap().remove("hidden_size");
        config.as_object_mut().unwrap().remove("vocab_size");
    });
    says(&folder.message(), &["config.json lacks \"vocab_size\", \"hidden_size\""]);
}

#[test]
fn unknown_settings_are_reported_and_do_no_harm() {
    let folder = Folder::new();
    folder.configure(|config| config["rope_theta"] = json!(10000));
    let base = folder.load().unwrap();
    assert_eq!(base.ignored_settings, ["attention_probs_dropout_prob", "rope_theta"]);
}

#[test]
fn an_unknown_family_names_the_supported_ones() {
    let folder = Folder::new();
    folder.configure(|config| config["model_type"] = json!("mamba"));
    let supported = "supported: bert, deberta-v2, distilbert, electra, modernbert, mpnet, roberta";
    says(&folder.message(), &["\"mamba\" is not supported", supported]);
}

#[test]
fn settings_that_make_another_graph_are_refused() {
    for (key, value, says_so) in [
        ("position_embedding_type", json!("relative_key"), "\"absolute\""),
        ("is_decoder", json!(true), "only encoders"),
        ("hidden_act", json!("silu"), "\"gelu\""),
        ("num_attention_heads", json!(5), "a divisor of hidden_size (32)"),
        ("num_hidden_layers", json!(-1), "num_hidden_layers"),
        ("num_hidden_layers", json!(u32::MAX), "num_hidden_layers"),
        ("hidden_size", json!("wide"), "\"hidden_size\" is \"wide\""),
        ("hidden_size", json!(0), "hidden_size"),
        ("hidden_dropout_prob", json!(1.5), "at least 0 and below 1"),
        ("layer_norm_eps", json!(-1e-5), "above 0"),
    ] {
        let folder = Folder::new();
        folder.configure(|config| config[key] = value);
        says(&folder.message(), &[key, says_so]);
    }
}

#[test]
fn a_configuration_that_is_no_json() {
    let folder = Folder::new();
    fs::write(folder.path("config.json"), "{\"model_type\": ").unwrap();
    says(&folder.message(), &["config.json is not valid JSON"]);
}

#[test]
fn weights_that_end_too_early() {
    for keep in [0, 4, 8, 1000, 80_000] {
        let folder = Folder::new();
        folder.weights(|file| file[..keep].to_vec());
        says(&folder.message(), &["model.safetensors is truncated or damaged", "fetch the model again"]);
    }
}

#[test]
fn weights_with_a_tampered_header() {
    let shape = |header: String| header.replacen("[48,32]", "[48,33]", 1);
    let huge = |mut file: Vec<u8>| {
        file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        file
    };
    let folder = Folder::new();
    folder.weights(|file| with_header(file, shape));
    says(&folder.message(), &["truncated or damaged"]);
    let folder = Folder::new();
    folder.weights(huge);
    says(&folder.message(), &["truncated or damaged"]);
}

#[test]
fn tensors_that_are_missing_left_over_or_of_another_shape_are_all_named() {
    let folder = Folder::new();
    folder.weights(|file| {
        with_header(file, |header| {
            header
                .replace("encoder.layer.0.output.dense.bias", "encoder.layer.0.output.dense.bios")
                .replace("encoder.layer.1.intermediate.dense.bias", "encoder.layer.9.intermediate.dense.bias")
        })
    });
    folder.configure(|config| config["type_vocab_size"] = json!(3));
    says(
        &folder.message(),
        &[
            "missing: \"encoder.layer.0.output.dense.bias\", \"encoder.layer.1.intermediate.dense.bias\"",
            "\"embeddings.token_type_embeddings.weight\" is f32[2, 32] instead of f32[3, 32]",
            "not part of this architecture:",
            "\"encoder.layer.0.output.dense.bios\"",
            "\"encoder.layer.9.intermediate.dense.bias\"",
        ],
    );
}

#[test]
fn each_family_refuses_what_makes_another_graph() {
    for (family, key, value, says_so) in [
        ("distilbert", "n_heads", json!(5), "a divisor of dim (16)"),
        ("distilbert", "activation", json!("relu"), "\"gelu\""),
        ("distilbert", "n_layers", json!(0), "a whole number"),
        ("distilbert", "dropout", json!(1), "at least 0 and below 1"),
        ("electra", "embedding_size", json!(0), "a whole number"),
        ("electra", "is_decoder", json!(true), "only encoders"),
        ("mpnet", "relative_attention_num_buckets", json!(64), "must be 32"),
        ("mpnet", "max_position_embeddings", json!(2), "above 2: "),
        ("roberta", "position_embedding_type", json!("relative_key_query"), "\"absolute\""),
        ("roberta", "pad_token_id", json!(40), "below vocab_size (40)"),
        ("roberta", "pad_token_id", json!(-1), "pad_token_id"),
        ("roberta", "max_position_embeddings", json!(2), "above 2: "),
    ] {
        let folder = Folder::of(family);
        folder.configure(|config| config[key] = value);
        says(&folder.message(), &["config.json", key, says_so]);
    }
}

#[test]
fn each_family_names_what_is_missing_and_what_is_left_over() {
    for (family, from, to) in [
        ("distilbert", "transformer.layer.1.ffn.lin2.bias", "transformer.layer.1.ffn.lin3.bias"),
        ("electra", "embeddings_project.weight", "embeddings_project.weighs"),
        ("mpnet", "encoder.relative_attention_bias.weight", "encoder.relative_attention_bias.height"),
        ("roberta", "embeddings.token_type_embeddings.weight", "embeddings.token_kind_embeddings.weight"),
    ] {
        let folder = Folder::of(family);
        folder.weights(|file| with_header(file, |header| header.replace(from, to)));
        let (missing, left) =
            (format!("missing: \"{from}\""), format!("not part of this architecture: \"{to}\""));
        says(&folder.message(), &[&missing, &left]);
    }
}

#[test]
fn a_generator_is_no_discriminator() {
    let folder = Folder::of("electra");
    let rename = |header: String| header.replace("discriminator_predictions", "generator_predictions");
    folder.weights(|file| with_header(file, rename));
    says(&folder.message(), &["not part of this architecture: \"generator_predictions.dense.bias\""]);
}

#[test]
fn names_with_and_without_their_prefix_are_the_same() {
    for family in ["bert", "distilbert", "electra", "roberta"] {
        let folder = Folder::of(family);
        let prefixed = format!("\"{family}.");
        folder.weights(|file| {
            with_header(file, |header| {
                assert!(header.contains(&prefixed));
                header.replace(&prefixed, "\"")
            })
        });
        let without = folder.load().unwrap().model;
        assert_eq!(without, load(&source(family)).unwrap().model, "{family}");
    }
    let folder = Folder::of("mpnet");
    let prefix = |header: String| {
        header.replace("\"embeddings.", "\"mpnet.embeddings.").replace("\"encoder.", "\"mpnet.encoder.")
    };
    folder.weights(|file| with_header(file, prefix));
    assert_eq!(folder.load().unwrap().model, load(&source("mpnet")).unwrap().model);
}

#[test]
fn models_that_differ_in_nothing_but_their_name() {
    for name in ["xlm-roberta", "camembert"] {
        let folder = Folder::of("roberta");
        folder.configure(|config| config["model_type"] = json!(name));
        let base = folder.load().unwrap();
        assert_eq!(base.family, name);
        assert_eq!(base.model, load(&source("roberta")).unwrap().model);
    }
}

#[test]
fn pooling_and_length_of_sentence_transformers() {
    let folder = Folder::new();
    fs::create_dir(folder.path("1_Pooling")).unwrap();
    let pooling = folder.path("1_Pooling/config.json");
    fs::write(&pooling, r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#).unwrap();
    fs::write(folder.path("sentence_bert_config.json"), r#"{"max_seq_length": 16}"#).unwrap();
    let base = folder.load().unwrap();
    assert_eq!((base.pooling, base.max_length), (Pooling::Mean, 16));

    fs::write(folder.path("sentence_bert_config.json"), r#"{"max_seq_length": 4096}"#).unwrap();
    assert_eq!(folder.load().unwrap().max_length, 24);

    fs::write(&pooling, r#"{"pooling_mode_max_tokens": true}"#).unwrap();
    says(&folder.message(), &["1_Pooling", "pooling_mode_mean_tokens"]);
}
