//! A pretrained encoder with a fresh head, as float32 and as int8 ONNX:
//! `cargo run -p refit-families --example export -- FOLDER_OR_ONNX OUT`

use refit_families::{HIDDEN_STATE, load};
use refit_graph::onnx;
use refit_passes::{
    Driver,
    edit::{Pool, QuantizeInt8Rows, ReplaceHead},
    lower::portable,
};
use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [base, out] = arguments.as_slice() else { return Err("give a model and an output folder".into()) };

    let mut model = load(base)?.model;
    let at = HIDDEN_STATE.to_owned();
    let head = ReplaceHead { at, pool: Pool::Mean, labels: 2, dropout: 0.1, carried: Vec::new(), seed: 7 };
    Driver::new().edit(&mut model, &head)?;

    let mut model = portable(&model)?;
    std::fs::write(out.join("model.float32.onnx"), onnx::write(&model)?)?;
    Driver::new().edit(&mut model, &QuantizeInt8Rows)?;
    std::fs::write(out.join("model.int8.onnx"), onnx::write(&model)?)?;
    Ok(())
}
