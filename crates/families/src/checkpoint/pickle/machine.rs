use super::{
    PickleError, globals,
    value::{Arena, Value},
};
use std::collections::HashMap;

/// Reads instructions and keeps the stack.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    arena: Arena,
}

type Step<T> = Result<T, PickleError>;

fn damaged<T>(why: impl Into<String>) -> Step<T> {
    Err(PickleError::Damaged(why.into()))
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
        let copies_left = bytes.len().saturating_mul(4);
        Self { bytes, at: 0, stack, marks, memo, arena: Arena { copies_left, ..Arena::default() } }
    }

    /// Runs to the last instruction and gives what is on the stack then.
    pub(super) fn run(&mut self) -> Step<Value> {
        loop {
            let code = self.take(1)?[0];
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    pub(super) fn finish(self) -> (Arena, usize) {
        (self.arena, self.at)
    }

    fn step(&mut self, code: u8) -> Step<()> {
        match code {
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.since_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.push(top)
            }
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b => self.integer(code),
            b'F' => self.line().and_then(|_| self.push(Value::Float)),
            b'G' => self.skip(8).and_then(|()| self.push(Value::Float)),
            b'S' | b'V' | b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e => self.text(code),
            b']' => self.sequence(Vec::new()),
            b')' => self.sequence(Vec::new()),
            b'l' | b't' => {
                let items = self.since_mark()?;
                self.sequence(items)
            }
            0x85..=0x87 => {
                let start = self.height_above(usize::from(code - 0x84))?;
                let items = self.stack.split_off(start);
                self.sequence(items)
            }
            b'a' | b'e' => self.append(code == b'a'),
            b'}' => self.dict(Vec::new()),
            b'd' => {
                let items = self.since_mark()?;
                let pairs = pairs(&items)?;
                self.dict(pairs)
            }
            b's' | b'u' => self.set_items(code == b's'),
            b'p' | b'q' | b'r' | 0x94 => self.remember(code),
            b'g' | b'h' | b'j' => self.recall(code),
            b'c' | 0x93 => self.global(code),
            b'R' | 0x81 => self.call(),
            b'b' => self.pop().and_then(|_| self.top()).map(|_| ()),
            b'Q' => self.persistent(),
            b'i' | b'o' | 0x92 | b'P' | 0x82..=0x84 => Err(PickleError::Refused(
                "its pickle makes objects in a way that no file of weights needs".to_owned(),
            )),
            other => {
                damaged(format!("its pickle has an unknown instruction 0x{other:02x} at byte {}", self.at))
            }
        }
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let Some(taken) = taken else { return damaged("its pickle ends early") };
        self.at += count;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Step<()> {
        self.take(count).map(|_| ())
    }

    /// An unsigned little-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Step<u64> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The bytes of a number's worth.
    fn sized(&mut self, bytes: usize) -> Step<&'a [u8]> {
        let count = self.number(bytes)?;
        usize::try_from(count).map_or_else(|_| damaged("its pickle ends early"), |count| self.take(count))
    }

    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return damaged("its pickle ends early");
        };
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn push(&mut self, value: Value) -> Step<()> {
        self.stack.push(value);
        Ok(())
    }

    /// Nothing below the last mark may be taken.
    fn pop(&mut self) -> Step<Value> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(value) if self.stack.len() > floor => Ok(*value),
            _ => damaged("its pickle takes more from its stack than there is"),
        }
    }

    fn height_above(&self, count: usize) -> Step<usize> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => Ok(start),
            _ => damaged("its pickle takes more from its stack than there is"),
        }
    }

    fn since_mark(&mut self) -> Step<Vec<Value>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("its pickle misses a mark"),
        }
    }

    fn integer(&mut self, code: u8) -> Step<()> {
        let value = match code {
            b'J' => i128::from(self.number(4)? as u32 as i32),
            b'K' => i128::from(self.number(1)?),
            b'M' => i128::from(self.number(2)?),
            b'I' | b'L' => {
                let line = std::str::from_utf8(self.line()?).unwrap_or_default();
                match line.trim_end_matches('L').parse() {
                    Ok(number) => number,
                    Err(_) => {
                        return damaged(format!(
                            "\"{}\" is no number",
                            line.escape_debug().take(40).collect::<String>()
                        ));
                    }
                }
            }
            _ => long(self.sized(if code == 0x8a { 1 } else { 4 })?)?,
        };
        self.push(Value::Int(value))
    }

    fn text(&mut self, code: u8) -> Step<()> {
        let bytes = match code {
            b'S' => self.line().map(|line| line.trim_ascii().trim_quotes())?,
            b'V' => self.line()?,
            b'X' | b'T' | b'B' => self.sized(4)?,
            0x8c | b'U' | b'C' => self.sized(1)?,
            _ => self.sized(8)?,
        };
        self.arena.texts.push(String::from_utf8_lossy(bytes).into_owned());
        self.push(Value::Text(self.arena.texts.len() - 1))
    }

    fn sequence(&mut self, items: Vec<Value>) -> Step<()> {
        self.arena.sequences.push(items);
        self.push(Value::Sequence(self.arena.sequences.len() - 1))
    }

    fn dict(&mut self, items: Vec<(Value, Value)>) -> Step<()> {
        self.arena.dicts.push(items);
        self.push(Value::Dict(self.arena.dicts.len() - 1))
    }

    fn append(&mut self, one: bool) -> Step<()> {
        let items = if one { vec![self.pop()?] } else { self.since_mark()? };
        match self.top()? {
            Value::Sequence(index) => self.arena.sequences[index].extend(items),
            _ => return damaged("its pickle appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, one: bool) -> Step<()> {
        let items = match one {
            true => {
                let start = self.height_above(2)?;
                self.stack.split_off(start)
            }
            false => self.since_mark()?,
        };
        let items = pairs(&items)?;
        match self.top()? {
            Value::Dict(index) => self.arena.dicts[index].extend(items),
            _ => return damaged("its pickle sets items of what is no dictionary"),
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Step<()> {
        let key = match code {
            0x94 => self.memo.len() as u64,
            code => self.memo_key(code, [b'p', b'q', b'r'])?,
        };
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Step<()> {
        let key = self.memo_key(code, [b'g', b'h', b'j'])?;
        match self.memo.get(&key).copied() {
            Some(value) => self.push(value),
            None => damaged(format!("its pickle recalls {key}, which it never remembered")),
        }
    }

    fn memo_key(&mut self, code: u8, [text, _, long]: [u8; 3]) -> Step<u64> {
        if code != text {
            return self.number(if code == long { 4 } else { 1 });
        }
        let line = std::str::from_utf8(self.line()?).unwrap_or_default();
        line.trim().parse().or_else(|_| damaged("its pickle remembers under what is no number"))
    }

    fn global(&mut self, code: u8) -> Step<()> {
        let (module, name) = match code {
            b'c' => {
                let line = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
                (line(self.line()?), line(self.line()?))
            }
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.arena.text(module), self.arena.text(name)) {
                    (Some(module), Some(name)) => (module.to_owned(), name.to_owned()),
                    _ => return damaged("its pickle names a global by what is no text"),
                }
            }
        };
        match globals::find(&module, &name) {
            Some(global) => self.push(Value::Global(global)),
            None => {
                let shown: String =
                    format!("{module}.{name}").chars().take(80).flat_map(char::escape_debug).collect();
                Err(PickleError::Refused(format!(
                    "its pickle asks for {shown}, which no file of weights needs"
                )))
            }
        }
    }

    fn call(&mut self) -> Step<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let count = |arena: &Arena, value: &Value| arena.sequence(*value).map_or(0, <[Value]>::len);
        let Some(given) = self.arena.sequence(arguments) else {
            return damaged("its pickle calls with what are no arguments");
        };
        // No call looks deeper than into the arguments of an argument.
        let inner: usize = given
            .iter()
            .map(|value| {
                let inner = self.arena.sequence(*value).unwrap_or_default().iter();
                inner.map(|value| count(&self.arena, value)).sum::<usize>() + count(&self.arena, value)
            })
            .sum();
        let arguments = given.to_vec();
        self.arena.charge(arguments.len() + inner)?;
        let Value::Global(callable) = callable else {
            return damaged("its pickle calls what is no function");
        };
        let made = globals::call(&mut self.arena, callable, &arguments)?;
        self.push(made)
    }

    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let parts = self.arena.sequence(id).unwrap_or_default();
        let longest = parts.iter().filter_map(|part| self.arena.text(*part)).map(str::len).max();
        self.arena.charge(longest.unwrap_or(0))?;
        match globals::storage(&mut self.arena, id) {
            Some(storage) => self.push(storage),
            None => damaged("its pickle refers to a storage that it does not describe"),
        }
    }
}

fn pairs(items: &[Value]) -> Step<Vec<(Value, Value)>> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => damaged("its pickle has a key without a value"),
    }
}

/// A signed little-endian number of any length up to 16 bytes.
fn long(bytes: &[u8]) -> Step<i128> {
    let mut wide = match bytes.last() {
        Some(last) if *last >= 0x80 => [0xff; 16],
        _ => [0; 16],
    };
    match wide.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return damaged("its pickle holds a number of more than 16 bytes"),
    }
    Ok(i128::from_le_bytes(wide))
}

/// Takes the quotes off a text.
trait TrimQuotes {
    fn trim_quotes(&self) -> &Self;
}

impl TrimQuotes for [u8] {
    fn trim_quotes(&self) -> &Self {
        match self {
            [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
            other => other,
        }
    }
}
