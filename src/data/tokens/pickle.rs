//! The pickles of data sets: plain data of every protocol, plus NumPy's numbers and characters and two kinds of
//! dictionary.

mod object;

use std::borrow::Cow;

use object::{Class, Number};

use crate::data::pickle::{self, DAMAGED, Kind, Machine};

/// A pickle of plain data.
pub type Pickle<'a> = pickle::Pickle<'a, Plain>;
/// One of its values; bytes that are UTF-8 are a string, as Python 2 wrote them.
pub type Value<'a> = pickle::Value<'a, Plain>;

/// Values that stand for plain data.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    /// A class or function.
    Class(Class),
    /// NumPy's type of a number.
    Type(Number),
    /// The bytes of a number.
    Bytes(Vec<u8>),
}

impl<'a> Kind<'a> for Plain {
    const BAD_LINE: &'static str = DAMAGED;

    fn bytes(bytes: &'a [u8]) -> Value<'a> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(_) if bytes.len() <= object::MAX_BYTES => Value::Own(Self::Bytes(bytes.into())),
            Err(_) => Value::Other,
        }
    }

    fn global(module: &Cow<'a, str>, name: &Cow<'a, str>) -> Result<Value<'a>, String> {
        Ok(Value::Own(Self::Class(Class::of(module, name)?)))
    }

    fn call(values: &[Value<'a>], class: usize, args: usize) -> Result<Value<'a>, String> {
        let (Value::Own(Self::Class(class)), Value::List(args)) = (&values[class], &values[args]) else {
            return Err(DAMAGED.into());
        };
        let args: Vec<&Value<'_>> = args.iter().take(2).filter_map(|&i| values.get(i)).collect();
        Ok(class.call(&args))
    }

    /// Sets the byte order of a type, which is its state.
    fn build(values: &mut [Value<'a>], object: usize, state: usize) -> Result<(), String> {
        let order = match &values[state] {
            Value::List(parts) => parts.get(1).and_then(|&i| values.get(i)),
            _ => None,
        };
        let is_big = matches!(order, Some(Value::Text(order)) if order == ">");
        if let Some(Value::Own(Self::Type(number))) = values.get_mut(object) {
            number.is_big |= is_big;
        }
        Ok(())
    }

    /// Runs instructions of protocols that write text line by line, and those that discard values.
    fn instruction(machine: &mut Machine<'a, Self>, code: u8) -> Result<(), String> {
        match code {
            b'I' | b'L' => {
                let line = machine.line()?.trim_end_matches('L');
                machine.push(line.parse().map_or(Value::Other, Value::Int));
            }
            b'V' => {
                let text = object::unescaped(machine.line_bytes()?).ok_or(DAMAGED)?;
                machine.push(Value::Text(text));
            }
            b'S' => {
                let text = object::unquoted(machine.line()?).ok_or(DAMAGED)?;
                machine.push(Value::Text(text));
            }
            b'F' => {
                machine.line()?;
                machine.push(Value::Other);
            }
            b'U' => machine.bytes(1)?,
            b'T' => machine.bytes(4)?,
            b'p' => {
                let name = machine.line()?.parse().map_err(|_| DAMAGED)?;
                machine.put(name)?;
            }
            b'g' => {
                let name = machine.line()?.parse().map_err(|_| DAMAGED)?;
                machine.recall(name)?;
            }
            b'0' => drop(machine.pop()?),
            b'1' => drop(machine.since_mark()?),
            code => return Err(format!("instruction {code:#04x} does not occur in plain data")),
        }
        Ok(())
    }
}
