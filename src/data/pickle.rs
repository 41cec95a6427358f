//! Reads Python's pickles without Python: numbers, strings, lists, tuples and dictionaries, and the extras of a
//! [`Kind`].
//!
//! Nothing is ever called or constructed by name. Memory is proportional to the file: values refer to each other by
//! index, so a value that is used often is stored once.
//!
//! Source: `pickletools` of Python's standard library, protocols 0 to 5.

mod machine;

use std::borrow::Cow;
use std::fmt;

pub use machine::Machine;

pub(crate) const CUT_OFF: &str = "it is truncated";
pub(crate) const DAMAGED: &str = "it is damaged";

/// A value; it refers to others by their index in `Pickle::values`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a, K> {
    /// A whole number of at most 64 bits.
    Int(i64),
    /// A string.
    Text(Cow<'a, str>),
    /// A list or a tuple.
    List(Vec<usize>),
    /// Keys with their values, in the order in which they were set.
    Dict(Vec<(usize, usize)>),
    /// Any other plain value, such as `None`.
    Other,
    /// A value specific to this kind of pickle.
    Own(K),
}

/// A kind of pickle: its extra values, and instructions that differ between kinds.
pub trait Kind<'a>: Clone + fmt::Debug + PartialEq {
    /// The error for a line that isn't UTF-8.
    const BAD_LINE: &'static str;

    /// A boolean.
    fn truth(_: bool) -> Value<'a, Self> {
        Value::Other
    }

    /// A floating-point number.
    fn fraction(_: f64) -> Value<'a, Self> {
        Value::Other
    }

    /// Bytes.
    fn bytes(_: &'a [u8]) -> Value<'a, Self> {
        Value::Other
    }

    /// A class or function, by its module and its name there.
    ///
    /// # Errors
    ///
    /// One that this kind doesn't support.
    fn global(module: &Cow<'a, str>, name: &Cow<'a, str>) -> Result<Value<'a, Self>, String>;

    /// The value that calling a class with its arguments stands for.
    ///
    /// # Errors
    ///
    /// A damaged file.
    fn call(values: &[Value<'a, Self>], class: usize, args: usize) -> Result<Value<'a, Self>, String>;

    /// Sets the state of an object.
    ///
    /// # Errors
    ///
    /// A damaged file.
    fn build(values: &mut [Value<'a, Self>], object: usize, state: usize) -> Result<(), String>;

    /// Runs an instruction that not all kinds support.
    ///
    /// # Errors
    ///
    /// One that this kind doesn't support either, or a damaged file.
    fn instruction(machine: &mut Machine<'a, Self>, code: u8) -> Result<(), String>;
}

/// A parsed pickle.
#[derive(Clone, Debug, PartialEq)]
pub struct Pickle<'a, K> {
    values: Vec<Value<'a, K>>,
    root: usize,
    n_byte: usize,
}

impl<'a, K: Kind<'a>> Pickle<'a, K> {
    /// Reads a pickle.
    ///
    /// # Errors
    ///
    /// What is wrong with it: truncated, damaged, or with unsupported content.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        Ok(Self { n_byte: bytes.len() - machine.n_left(), values: machine.into_values(), root })
    }

    /// Its length, if more follows. Units: bytes.
    pub fn n_byte(&self) -> usize {
        self.n_byte
    }

    /// All values, including discarded ones.
    pub fn values(&self) -> impl Iterator<Item = &Value<'a, K>> {
        self.values.iter()
    }

    /// The root value.
    pub fn root(&self) -> &Value<'a, K> {
        self.value(self.root)
    }

    /// The value at an index that another value holds.
    pub fn value(&self, index: usize) -> &Value<'a, K> {
        self.values.get(index).unwrap_or(&Value::Other)
    }

    /// Looks up a string key of a dictionary.
    pub fn get(&self, dict: &Value<'a, K>, name: &str) -> Option<&Value<'a, K>> {
        let Value::Dict(items) = dict else { return None };
        // the last one set counts
        let found = items.iter().rev().find(|(key, _)| matches!(self.value(*key), Value::Text(text) if text == name));
        found.map(|&(_, value)| self.value(value))
    }
}
