//! Pickles as `torch.save` writes them, without Python: numbers, strings, lists, tuples and dictionaries, and objects as a record of what Python
//! would build them from.
//!
//! Nothing is ever called or built by name, and what is read takes memory in proportion to the file: values refer to each
//! other by index, so one that is used often is there once.
//!
//! Source: `pickletools` of Python's standard library, protocols 2 to 5, none of which writes text line by line.

use std::collections::HashMap;

/// A value; others are named by their index in `Pickle::values`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A whole number of at most 64 bits.
    Int(i64),
    /// A string.
    Text(&'a str),
    /// A list or a tuple.
    List(Vec<usize>),
    /// Keys with their values, in the order in which they were set.
    Dict(Vec<(usize, usize)>),
    /// A truth value.
    Bool(bool),
    /// A fraction.
    Float(f64),
    /// A class or function: its module and its name there.
    Global(&'a str, &'a str),
    /// What Python would get by calling `class` with the tuple `args`, and then giving it a state.
    Object {
        /// A [`Value::Global`], if the file is sound.
        class: usize,
        /// A [`Value::List`], if the file is sound.
        args: usize,
        /// Often a dictionary of attributes.
        state: Option<usize>,
    },
    /// Something outside the pickle, by what names it there.
    Outside(usize),
    /// Anything else that is plain: none, bytes.
    Other,
}

/// What a pickle holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: usize,
    n_byte: usize,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle that may have objects in it. An `OrderedDict` or `defaultdict` is a [`Value::Dict`].
    ///
    /// # Errors
    ///
    /// What is wrong with it: cut off, damaged, or an instruction of another kind.
    pub fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, String> {
        Machine { rest: bytes, ..Machine::default() }.run()
    }

    /// Its length, where more follows. Units: bytes.
    pub fn n_byte(&self) -> usize {
        self.n_byte
    }

    /// All values, those that were thrown away included.
    pub fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.values.iter()
    }

    /// The value itself.
    pub fn root(&self) -> &Value<'a> {
        self.value(self.root)
    }

    /// A value that another one names.
    pub fn value(&self, index: usize) -> &Value<'a> {
        self.values.get(index).unwrap_or(&Value::Other)
    }

    /// What a dictionary has under a name.
    pub fn get(&self, dict: &Value<'a>, name: &str) -> Option<&Value<'a>> {
        let Value::Dict(items) = dict else { return None };
        // the last one set counts
        let found = items.iter().rev().find(|(key, _)| *self.value(*key) == Value::Text(name));
        found.map(|&(_, value)| self.value(value))
    }
}

/// Pickle's stack machine.
#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<usize>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

const CUT_OFF: &str = "it is cut off";
const DAMAGED: &str = "it is damaged";

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, String> {
        let n = self.rest.len();
        loop {
            if let Some(root) = self.step()? {
                return Ok(Pickle { values: self.values, root, n_byte: n - self.rest.len() });
            }
        }
    }

    /// Does one instruction; the root, if it was the last.
    fn step(&mut self) -> Result<Option<usize>, String> {
        match self.take(1)?[0] {
            // protocol and frame: nothing that isn't known without
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
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'G' => {
                let bits = self.take(8)?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
                self.push(Value::Float(f64::from_bits(bits)));
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
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(module, name));
            }
            0x93 => self.global()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => {
                let name = self.pop()?;
                self.push(Value::Outside(name));
            }
            code => return Err(format!("instruction {code:#04x} is not one that is read")),
        }
        Ok(None)
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], String> {
        let n = usize::try_from(n).map_err(|_| CUT_OFF)?;
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A little-endian number of `width` bytes, at most 8.
    fn number(&mut self, width: u64) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn int(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        self.push(Value::Int(i64::try_from(n).map_err(|_| DAMAGED)?));
        Ok(())
    }

    /// A number of any length, negative where its highest bit is set.
    fn long(&mut self) -> Result<(), String> {
        let n = self.number(1)?;
        let bytes = self.take(n)?;
        let fill = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut whole = [fill; 8];
        // longer ones are no counts or ids
        let value = whole.get_mut(..bytes.len()).map(|low| low.copy_from_slice(bytes));
        self.push(value.map_or(Value::Other, |()| Value::Int(i64::from_le_bytes(whole))));
        Ok(())
    }

    fn text(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| "a string in it is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn bytes(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        self.other(n)
    }

    fn other(&mut self, n: u64) -> Result<(), String> {
        self.take(n)?;
        self.push(Value::Other);
        Ok(())
    }

    /// The top of the stack, down to `n` values of it; a mark is never passed.
    fn split_off(&mut self, n: usize) -> Result<Vec<usize>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let at = self.stack.len().checked_sub(n).filter(|&at| at >= floor).ok_or(DAMAGED)?;
        Ok(self.stack.split_off(at))
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.split_off(1)?.pop().ok_or_else(|| DAMAGED.into())
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, String> {
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

    /// A text up to a line break.
    fn line(&mut self) -> Result<&'a str, String> {
        let n = self.rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_OFF)?;
        let line = self.take(n as u64)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a name in it is not UTF-8".into())
    }

    fn global(&mut self) -> Result<(), String> {
        let [module, name] = self.split_off(2)?[..] else { return Err(DAMAGED.into()) };
        let (Value::Text(module), Value::Text(name)) = (&self.values[module], &self.values[name]) else {
            return Err(DAMAGED.into());
        };
        self.push(Value::Global(module, name));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let [class, args] = self.split_off(2)?[..] else { return Err(DAMAGED.into()) };
        let is_dict = matches!(self.values[class], Value::Global("collections", "OrderedDict" | "defaultdict"));
        self.push(if is_dict { Value::Dict(vec![]) } else { Value::Object { class, args, state: None } });
        Ok(())
    }

    /// Gives the object on top of the stack the state in front of it. A dictionary's holds nothing that counts.
    fn build(&mut self) -> Result<(), String> {
        let given = self.pop()?;
        let top = *self.stack.last().ok_or(DAMAGED)?;
        match self.values.get_mut(top) {
            Some(Value::Object { state, .. }) => *state = Some(given),
            Some(Value::Dict(_)) => {}
            _ => return Err(DAMAGED.into()),
        }
        Ok(())
    }

    fn put(&mut self, name: u64) -> Result<(), String> {
        self.memo.insert(name, *self.stack.last().ok_or(DAMAGED)?);
        Ok(())
    }

    fn recall(&mut self, width: u64) -> Result<(), String> {
        let name = self.number(width)?;
        self.stack.push(*self.memo.get(&name).ok_or(DAMAGED)?);
        Ok(())
    }
}
