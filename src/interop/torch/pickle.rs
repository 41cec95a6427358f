//! Pickles of `torch.save`: plain data of protocols 2 to 5, and objects as records of how Python would construct them.

use std::borrow::Cow;

use crate::data::pickle::{self, DAMAGED, Kind, Machine};

/// A pickle of `torch.save`; an `OrderedDict` or `defaultdict` is a dictionary.
pub type Pickle<'a> = pickle::Pickle<'a, Built<'a>>;
/// One of its values.
pub type Value<'a> = pickle::Value<'a, Built<'a>>;

/// Values other than plain data.
#[derive(Clone, Debug, PartialEq)]
pub enum Built<'a> {
    /// A boolean.
    Bool(bool),
    /// A floating-point number.
    Float(f64),
    /// A class or function: its module and its name there.
    Global(&'a str, &'a str),
    /// The result of calling `class` with the tuple `args`, and then setting its state.
    Object {
        /// A [`Built::Global`], if the file is valid.
        class: usize,
        /// A list, if the file is valid.
        args: usize,
        /// Often a dictionary of attributes.
        state: Option<usize>,
    },
    /// A persistent id, for an object outside the pickle.
    Outside(usize),
}

impl<'a> Kind<'a> for Built<'a> {
    const BAD_LINE: &'static str = "a name in it is not UTF-8";

    fn truth(value: bool) -> Value<'a> {
        Value::Own(Self::Bool(value))
    }

    fn fraction(value: f64) -> Value<'a> {
        Value::Own(Self::Float(value))
    }

    fn global(module: &Cow<'a, str>, name: &Cow<'a, str>) -> Result<Value<'a>, String> {
        match (module, name) {
            (Cow::Borrowed(module), Cow::Borrowed(name)) => Ok(Value::Own(Self::Global(module, name))),
            // strings with escapes, which these pickles don't have
            _ => Err(DAMAGED.into()),
        }
    }

    fn call(values: &[Value<'a>], class: usize, args: usize) -> Result<Value<'a>, String> {
        let called = &values[class];
        let is_dict = matches!(called, Value::Own(Self::Global("collections", "OrderedDict" | "defaultdict")));
        Ok(if is_dict { Value::Dict(vec![]) } else { Value::Own(Self::Object { class, args, state: None }) })
    }

    /// Ignores the state of a dictionary, which holds nothing relevant.
    fn build(values: &mut [Value<'a>], object: usize, given: usize) -> Result<(), String> {
        match values.get_mut(object) {
            Some(Value::Own(Self::Object { state, .. })) => *state = Some(given),
            Some(Value::Dict(_)) => {}
            _ => return Err(DAMAGED.into()),
        }
        Ok(())
    }

    fn instruction(machine: &mut Machine<'a, Self>, code: u8) -> Result<(), String> {
        match code {
            0x81 => machine.call(),
            b'Q' => {
                let name = machine.pop()?;
                machine.push(Value::Own(Self::Outside(name)));
                Ok(())
            }
            code => Err(format!("instruction {code:#04x} is not supported")),
        }
    }
}
