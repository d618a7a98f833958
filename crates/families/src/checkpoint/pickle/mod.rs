//! A reader of pickles that executes nothing.
//!
//! It is a stack machine over plain values. Names of the outside world become [`Value::Global`] when they are in
//! [`globals`] and end the reading when they are not; "calling" one of them puts a tensor's description together.
//! Memory is bounded by the length of the pickle: every instruction makes at most one value, containers live in
//! one arena (so that no depth of nesting can overflow the stack), and numbers above 16 bytes are refused.

mod globals;
mod machine;
mod value;

pub(super) use globals::Global;
pub(super) use value::{Arena, StorageSource, TensorView, Value};

/// Why a pickle is not read.
#[derive(Debug)]
pub(super) enum PickleError {
    /// It ends early or makes no sense.
    Damaged(String),
    /// It asks for something that no file of weights needs.
    Refused(String),
}

/// One pickle that was read.
pub(super) struct Pickle {
    /// Its containers, texts and tensors.
    pub(super) arena: Arena,
    /// What it holds.
    pub(super) value: Value,
    /// Bytes up to and with its last instruction.
    pub(super) length: usize,
}

/// Reads the pickle at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle, PickleError> {
    let mut machine = machine::Machine::new(bytes);
    let value = machine.run()?;
    let (arena, length) = machine.finish();
    Ok(Pickle { arena, value, length })
}
