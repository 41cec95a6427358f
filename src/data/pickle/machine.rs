use std::collections::HashMap;

use super::{CUT_OFF, DAMAGED, Kind, Value};

/// Pickle's stack machine.
#[derive(Debug)]
pub struct Machine<'a, K> {
    rest: &'a [u8],
    values: Vec<Value<'a, K>>,
    stack: Vec<usize>,
    /// The stack's height at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

impl<'a, K: Kind<'a>> Machine<'a, K> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, values: vec![], stack: vec![], marks: vec![], memo: HashMap::new() }
    }

    /// Runs all instructions; returns the root.
    pub(super) fn run(&mut self) -> Result<usize, String> {
        loop {
            if let Some(root) = self.step()? {
                return Ok(root);
            }
        }
    }

    /// Bytes after the last instruction.
    pub(super) fn n_left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn into_values(self) -> Vec<Value<'a, K>> {
        self.values
    }

    /// Runs one instruction; returns the root if it was the last.
    fn step(&mut self) -> Result<Option<usize>, String> {
        match self.take(1)?[0] {
            // protocol and frame: nothing needed here
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => {
                let bytes = self.take(4)?.try_into().map_err(|_| DAMAGED)?;
                self.push(Value::Int(i32::from_le_bytes(bytes).into()));
            }
            0x8a => self.long()?,
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'N' => self.push(Value::Other),
            code @ 0x88..=0x89 => self.push(K::truth(code == 0x88)),
            b'G' => {
                let bits = self.take(8)?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
                self.push(K::fraction(f64::from_bits(bits)));
            }
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e => self.bytes(8)?,
            b'}' => self.push(Value::Dict(vec![])),
            b']' | b')' => self.push(Value::List(vec![])),
            b't' | b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items));
            }
            n @ 0x85..=0x87 => {
                let items = self.split_off(usize::from(n - 0x84))?;
                self.push(Value::List(items));
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dict(vec![]));
                self.extend(items)?;
            }
            b's' => {
                let items = self.split_off(2)?;
                self.extend(items)?;
            }
            b'a' => {
                let items = self.split_off(1)?;
                self.extend(items)?;
            }
            b'u' | b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            b'q' => {
                let name = self.number(1)?;
                self.put(name)?;
            }
            b'r' => {
                let name = self.number(4)?;
                self.put(name)?;
            }
            b'h' => {
                let name = self.number(1)?;
                self.recall(name)?;
            }
            b'j' => {
                let name = self.number(4)?;
                self.recall(name)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = K::global(&module.into(), &name.into())?;
                self.push(global);
            }
            0x93 => self.global()?,
            b'R' => self.call()?,
            b'b' => self.build()?,
            code => K::instruction(self, code)?,
        }
        Ok(None)
    }

    pub(crate) fn take(&mut self, n: u64) -> Result<&'a [u8], String> {
        let n = usize::try_from(n).map_err(|_| CUT_OFF)?;
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a little-endian number of `width` bytes, at most 8.
    fn number(&mut self, width: u64) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    pub(crate) fn push(&mut self, value: Value<'a, K>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn int(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        self.push(Value::Int(i64::try_from(n).map_err(|_| DAMAGED)?));
        Ok(())
    }

    /// Reads a number of any length, negative if its highest bit is set.
    fn long(&mut self) -> Result<(), String> {
        let n = self.number(1)?;
        let bytes = self.take(n)?;
        let fill = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut whole = [fill; 8];
        // longer ones are neither counts nor ids
        let value = whole.get_mut(..bytes.len()).map(|low| low.copy_from_slice(bytes));
        self.push(value.map_or(Value::Other, |()| Value::Int(i64::from_le_bytes(whole))));
        Ok(())
    }

    fn text(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| "a string in it is not UTF-8")?;
        self.push(Value::Text(text.into()));
        Ok(())
    }

    pub(crate) fn bytes(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        let bytes = self.take(n)?;
        self.push(K::bytes(bytes));
        Ok(())
    }

    /// Reads the rest of a line, without the line break.
    pub(crate) fn line_bytes(&mut self) -> Result<&'a [u8], String> {
        let n = self.rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_OFF)?;
        let line = self.take(n as u64)?;
        self.take(1)?;
        Ok(line)
    }

    pub(crate) fn line(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.line_bytes()?).map_err(|_| K::BAD_LINE.into())
    }

    /// Pops down to `n` values of the stack, never past a mark.
    fn split_off(&mut self, n: usize) -> Result<Vec<usize>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let at = self.stack.len().checked_sub(n).filter(|&at| at >= floor).ok_or(DAMAGED)?;
        Ok(self.stack.split_off(at))
    }

    pub(crate) fn pop(&mut self) -> Result<usize, String> {
        self.split_off(1)?.pop().ok_or_else(|| DAMAGED.into())
    }

    pub(crate) fn since_mark(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().ok_or(DAMAGED)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    /// Adds to the list or dictionary on top of the stack.
    fn extend(&mut self, items: Vec<usize>) -> Result<(), String> {
        let top = *self.stack.last().ok_or(DAMAGED)?;
        match self.values.get_mut(top) {
            Some(Value::List(list)) => list.extend(items),
            Some(Value::Dict(dict)) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err(DAMAGED.into()),
        }
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let [module, name] = self.split_off(2)?[..] else { return Err(DAMAGED.into()) };
        let (Value::Text(module), Value::Text(name)) = (&self.values[module], &self.values[name]) else {
            return Err(DAMAGED.into());
        };
        let global = K::global(module, name)?;
        self.push(global);
        Ok(())
    }

    /// Makes a value from a class and its arguments.
    pub(crate) fn call(&mut self) -> Result<(), String> {
        let [class, args] = self.split_off(2)?[..] else { return Err(DAMAGED.into()) };
        let made = K::call(&self.values, class, args)?;
        self.push(made);
        Ok(())
    }

    /// Sets the state of an object; both are on top of the stack.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let top = *self.stack.last().ok_or(DAMAGED)?;
        K::build(&mut self.values, top, state)
    }

    pub(crate) fn put(&mut self, name: u64) -> Result<(), String> {
        self.memo.insert(name, *self.stack.last().ok_or(DAMAGED)?);
        Ok(())
    }

    pub(crate) fn recall(&mut self, name: u64) -> Result<(), String> {
        self.stack.push(*self.memo.get(&name).ok_or(DAMAGED)?);
        Ok(())
    }
}
