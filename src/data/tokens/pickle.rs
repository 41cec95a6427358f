//! The part of Python's pickle that plain data needs: numbers, strings, lists, tuples and dictionaries.
//!
//! No code is ever run. Of objects, NumPy's numbers and characters and two kinds of dictionary are understood. What is read
//! takes memory in proportion to the file: values refer to each other by index, so one that is used often is stored once.
//!
//! Source: `pickletools` of Python's standard library, protocols 0 to 5.

mod object;

use std::borrow::Cow;
use std::collections::HashMap;

use object::{Class, Number};

/// A value; others are named by their index in `Pickle::values`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A whole number of at most 64 bits.
    Int(i64),
    /// A string, or bytes that are UTF-8.
    Text(Cow<'a, str>),
    /// A list or a tuple.
    List(Vec<usize>),
    /// Keys with their values, in the order in which they were set.
    Dict(Vec<(usize, usize)>),
    /// Anything else that is plain: none, truth values, fractions, other bytes.
    Other,
    /// A class or function, by its name.
    Class(Class),
    /// NumPy's type of a number.
    Type(Number),
    /// The bytes of a number.
    Bytes(Vec<u8>),
}

/// What a pickle holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: usize,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle.
    ///
    /// # Errors
    ///
    /// What is wrong with it: cut off, damaged, or with objects other than plain data.
    pub fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, String> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        let root = loop {
            if let Some(root) = machine.step()? {
                break root;
            }
        };
        Ok(Pickle { values: machine.values, root })
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
        let found = items.iter().rev().find(|(key, _)| matches!(self.value(*key), Value::Text(text) if text == name));
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
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'I' | b'L' => {
                let line = self.line()?.trim_end_matches('L');
                self.push(line.parse().map_or(Value::Other, Value::Int));
            }
            b'V' => {
                let text = object::unescaped(self.line_bytes()?).ok_or(DAMAGED)?;
                self.push(Value::Text(text));
            }
            b'S' => {
                let text = object::unquoted(self.line()?).ok_or(DAMAGED)?;
                self.push(Value::Text(text));
            }
            b'F' => {
                self.line()?;
                self.push(Value::Other);
            }
            b'U' => self.bytes(1)?,
            b'T' => self.bytes(4)?,
            b'p' => {
                let name = self.line()?.parse().map_err(|_| DAMAGED)?;
                self.put(name)?;
            }
            b'g' => {
                let name = self.line()?.parse().map_err(|_| DAMAGED)?;
                self.recall(name)?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
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
                let class = Class::of(module, name)?;
                self.push(Value::Class(class));
            }
            0x93 => {
                let names = self.split_off(2)?;
                let [Some(Value::Text(module)), Some(Value::Text(name))] = [0, 1].map(|i| self.values.get(names[i]))
                else {
                    return Err(DAMAGED.into());
                };
                let class = Class::of(module, name)?;
                self.push(Value::Class(class));
            }
            b'R' => self.call()?,
            b'b' => self.complete()?,
            code => return Err(format!("instruction {code:#04x} is not among those of plain data")),
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
        self.push(Value::Text(text.into()));
        Ok(())
    }

    /// Bytes, which are a string in what Python 2 wrote, or those of a number.
    fn bytes(&mut self, width: u64) -> Result<(), String> {
        let n = self.number(width)?;
        let bytes = self.take(n)?;
        self.push(match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(_) if bytes.len() <= object::MOST_BYTES => Value::Bytes(bytes.into()),
            Err(_) => Value::Other,
        });
        Ok(())
    }

    /// The rest of a line, without what ends it.
    fn line_bytes(&mut self) -> Result<&'a [u8], String> {
        let n = self.rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_OFF)?;
        let line = self.take(n as u64)?;
        self.take(1)?;
        Ok(line)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.line_bytes()?).map_err(|_| DAMAGED.into())
    }

    /// Makes a value of a class and its arguments.
    fn call(&mut self) -> Result<(), String> {
        let pair = self.split_off(2)?;
        let (Value::Class(class), Value::List(arguments)) = (&self.values[pair[0]], &self.values[pair[1]]) else {
            return Err(DAMAGED.into());
        };
        let arguments: Vec<&Value<'_>> = arguments.iter().take(2).filter_map(|&i| self.values.get(i)).collect();
        let value = class.call(&arguments);
        self.push(value);
        Ok(())
    }

    /// Sets the state of an object, which for a type says the order of its bytes.
    fn complete(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let top = *self.stack.last().ok_or(DAMAGED)?;
        let order = match &self.values[state] {
            Value::List(parts) => parts.get(1).and_then(|&i| self.values.get(i)),
            _ => None,
        };
        let is_big = matches!(order, Some(Value::Text(order)) if order == ">");
        if let Some(Value::Type(number)) = self.values.get_mut(top) {
            number.is_big |= is_big;
        }
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

    fn put(&mut self, name: u64) -> Result<(), String> {
        self.memo.insert(name, *self.stack.last().ok_or(DAMAGED)?);
        Ok(())
    }

    fn recall(&mut self, name: u64) -> Result<(), String> {
        self.stack.push(*self.memo.get(&name).ok_or(DAMAGED)?);
        Ok(())
    }
}
