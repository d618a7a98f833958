//! int8 beside float32 for a convolutional network, in ONNX Runtime. PyTorch trains it on fashion-mnist; the example
//! `int8` makes its forms and measures them.

use super::Bench;
use super::int8::DROP_POINTS;
use crate::bench::{Row, median};
use crate::shell;
use anyhow::{Context, Result};

/// Factor on the speed of float32.
const FASTER: f64 = 3.0;
/// Judging a thousand images in every form takes half a minute.
const MOST_ROUNDS: usize = 3;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.folder.join("images");
    if !folder.join("labels.u8").is_file() {
        std::fs::create_dir_all(&folder)?;
        let mut python = shell::program(&bench.python);
        shell::run(python.arg("xtask/bench/torch_cnn.py").arg(&folder))?;
    }
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--example", "int8"]))?;
    let files = ["cnn.onnx", "calibration.f32", "test.f32", "labels.u8"].map(|name| folder.join(name));
    let [model, calibration, test, labels] = files;
    let mut example = shell::program(shell::target().join("debug/examples/int8"));
    example.arg("images").arg(model).arg("28").args([calibration, test, labels]);
    let mut forms = [const { Vec::new() }; 2];
    let rounds = bench.rounds.min(MOST_ROUNDS);
    for round in 0..rounds {
        eprintln!("images, int8 and float32: round {} of {rounds}", round + 1);
        let printed = shell::output(&mut example)?;
        forms[0].push(Form::read(&printed, "onnxruntime int8 static pairs")?);
        forms[1].push(Form::read(&printed, "onnxruntime float32")?);
    }
    let of = |forms: &[Form], figure: fn(&Form) -> f64| median(forms.iter().map(figure).collect());
    let [int8, float32] = forms.each_ref().map(|forms| of(forms, |form| 1e3 / form.milliseconds));
    let lost = 100.0 * (of(&forms[1], |form| form.accuracy) - of(&forms[0], |form| form.accuracy));
    let name = |what: &str| format!("CNN in ONNX Runtime, int8: {what}");
    Ok(vec![
        Row::at_least(name("images/s on a thread, float32"), int8, float32, FASTER).of_rounds(rounds),
        Row::at_most(name("accuracy lost on test images, points, against 0.5"), lost, DROP_POINTS, 1.0)
            .of_rounds(rounds),
    ])
}

/// A line of the example.
struct Form {
    /// One image, alone.
    milliseconds: f64,
    accuracy: f64,
}

impl Form {
    fn read(printed: &str, name: &str) -> Result<Self> {
        let missing = || format!("the example int8 printed no line for {name}");
        let line =
            printed.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).with_context(missing)?;
        let after =
            |what: &str| -> Option<f64> { line.split_once(what)?.1.split_whitespace().next()?.parse().ok() };
        let milliseconds = after("1 image ").with_context(missing)?;
        Ok(Self { milliseconds, accuracy: after("accuracy ").with_context(missing)? })
    }
}
