use std::cell::Cell;
use std::io::{Error, Read, Result};
use std::rc::Rc;

/// A reader that fails when more than so many bytes are read without [`Allowance::renew`]: a parser that
/// looks for the end of a row cannot fill memory with the rest of the file.
pub(super) struct Bounded<R> {
    inner: R,
    left: Rc<Cell<usize>>,
}

/// How much may be read yet.
pub(super) struct Allowance {
    left: Rc<Cell<usize>>,
    bytes: usize,
}

pub(super) fn bounded<R: Read>(inner: R, bytes: usize) -> (Bounded<R>, Allowance) {
    let left = Rc::new(Cell::new(bytes));
    (Bounded { inner, left: Rc::clone(&left) }, Allowance { left, bytes })
}

impl Allowance {
    /// A row has ended.
    pub(super) fn renew(&self) {
        self.left.set(self.bytes);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.left.get() == 0
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(self.left.get());
        if most == 0 && !buffer.is_empty() {
            return Err(Error::other("the row never ends"));
        }
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - read);
        Ok(read)
    }
}
