//! Python's pickles, without Python: numbers, strings, lists, tuples and dictionaries, and what a [`Kind`] of pickles has besides.
//!
//! Nothing is ever called or built by name. What is read takes memory in proportion to the file: values refer to each other by
//! index, so one that is used often is there once.
//!
//! Source: `pickletools` of Python's standard library, protocols 0 to 5.

mod machine;

use std::borrow::Cow;
use std::fmt;

pub use machine::Machine;

pub(crate) const CUT_OFF: &str = "it is cut off";
pub(crate) const DAMAGED: &str = "it is damaged";

/// A value; others are named by their index in `Pickle::values`.
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
    /// Anything else that is plain, such as none.
    Other,
    /// What this kind of pickles has besides.
    Own(K),
}

/// What a kind of pickles has besides plain data, and what its instructions mean that other kinds take otherwise.
pub trait Kind<'a>: Clone + fmt::Debug + PartialEq {
    /// What is wrong with a line that isn't UTF-8.
    const BAD_LINE: &'static str;

    /// A truth value.
    fn truth(_: bool) -> Value<'a, Self> {
        Value::Other
    }

    /// A fraction.
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
    /// One that this kind has not.
    fn global(module: &Cow<'a, str>, name: &Cow<'a, str>) -> Result<Value<'a, Self>, String>;

    /// What calling a class with its arguments stands for.
    ///
    /// # Errors
    ///
    /// A damaged file.
    fn call(values: &[Value<'a, Self>], class: usize, args: usize) -> Result<Value<'a, Self>, String>;

    /// Gives an object a state.
    ///
    /// # Errors
    ///
    /// A damaged file.
    fn build(values: &mut [Value<'a, Self>], object: usize, state: usize) -> Result<(), String>;

    /// Does an instruction that not all kinds have.
    ///
    /// # Errors
    ///
    /// One that this kind has not either, or a damaged file.
    fn instruction(machine: &mut Machine<'a, Self>, code: u8) -> Result<(), String>;
}

/// What a pickle holds.
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
    /// What is wrong with it: cut off, damaged, or with what this kind has not.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        Ok(Self { n_byte: bytes.len() - machine.n_left(), values: machine.into_values(), root })
    }

    /// Its length, where more follows. Units: bytes.
    pub fn n_byte(&self) -> usize {
        self.n_byte
    }

    /// All values, those that were thrown away included.
    pub fn values(&self) -> impl Iterator<Item = &Value<'a, K>> {
        self.values.iter()
    }

    /// The value itself.
    pub fn root(&self) -> &Value<'a, K> {
        self.value(self.root)
    }

    /// A value that another one names.
    pub fn value(&self, index: usize) -> &Value<'a, K> {
        self.values.get(index).unwrap_or(&Value::Other)
    }

    /// What a dictionary has under a name.
    pub fn get(&self, dict: &Value<'a, K>, name: &str) -> Option<&Value<'a, K>> {
        let Value::Dict(items) = dict else { return None };
        // the last one set counts
        let found = items.iter().rev().find(|(key, _)| matches!(self.value(*key), Value::Text(text) if text == name));
        found.map(|&(_, value)| self.value(value))
    }
}
