//! The few pickled objects that stand for plain data.

use std::borrow::Cow;

use super::{Plain, Value};

/// A class or function whose result is plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A dictionary subclass, read as a plain one.
    Dictionary,
    /// NumPy's type of a number.
    Type,
    /// A NumPy scalar, from a type and bytes.
    Scalar,
    /// Bytes, which older protocols write as text.
    Encode,
    /// A built-in of Python.
    Other,
}

/// The maximum size of a NumPy number or character. Units: bytes.
pub(super) const MAX_BYTES: usize = 8;

impl Class {
    /// # Errors
    ///
    /// Any other name.
    pub(super) fn of(module: &str, name: &str) -> Result<Class, String> {
        match (module, name) {
            ("collections", "OrderedDict" | "defaultdict") => Ok(Class::Dictionary),
            ("numpy", "dtype") => Ok(Class::Type),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Ok(Class::Scalar),
            ("_codecs", "encode") => Ok(Class::Encode),
            ("builtins" | "__builtin__" | "collections", _) => Ok(Class::Other),
            _ => Err("it holds Python objects other than numbers, strings, lists and dictionaries".into()),
        }
    }

    /// The value it makes from its first arguments.
    pub(super) fn call(self, arguments: &[&Value<'_>]) -> Value<'static> {
        match (self, arguments) {
            (Class::Dictionary, _) => Value::Dict(vec![]),
            (Class::Type, [Value::Text(name), ..]) => {
                Number::of(name).map_or(Value::Other, |number| Value::Own(Plain::Type(number)))
            }
            (Class::Scalar, [Value::Own(Plain::Type(number)), Value::Own(Plain::Bytes(bytes))]) => number.value(bytes),
            (Class::Scalar, [Value::Own(Plain::Type(number)), Value::Text(text)]) => number.value(text.as_bytes()),
            // the other argument is always latin1, in which each character is a byte
            (Class::Encode, [Value::Text(text), ..]) => {
                let bytes = text.chars().take(MAX_BYTES + 1).map(|c| u8::try_from(c).ok());
                let bytes = bytes.collect::<Option<Vec<u8>>>().filter(|bytes| bytes.len() <= MAX_BYTES);
                bytes.map_or(Value::Other, |bytes| Value::Own(Plain::Bytes(bytes)))
            }
            _ => Value::Other,
        }
    }
}

/// The type of a NumPy number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    kind: Kind,
    n_byte: usize,
    /// Whether its highest byte comes first.
    pub(super) is_big: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Signed,
    Unsigned,
    Character,
}

impl Number {
    fn of(name: &str) -> Option<Number> {
        let number = |kind, n_byte| Some(Number { kind, n_byte, is_big: false });
        match name.trim_start_matches(['<', '|', '=']) {
            "i1" => number(Kind::Signed, 1),
            "i2" => number(Kind::Signed, 2),
            "i4" => number(Kind::Signed, 4),
            "i8" => number(Kind::Signed, 8),
            "u1" => number(Kind::Unsigned, 1),
            "u2" => number(Kind::Unsigned, 2),
            "u4" => number(Kind::Unsigned, 4),
            "u8" => number(Kind::Unsigned, 8),
            "U1" => number(Kind::Character, 4),
            _ => None,
        }
    }

    fn value(self, bytes: &[u8]) -> Value<'static> {
        if bytes.len() != self.n_byte {
            return Value::Other;
        }
        let mut bytes = bytes.to_vec();
        if self.is_big {
            bytes.reverse();
        }
        let is_negative = self.kind == Kind::Signed && bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut word = [if is_negative { 0xff } else { 0 }; MAX_BYTES];
        word[..bytes.len()].copy_from_slice(&bytes);
        let value = i64::from_le_bytes(word);
        match self.kind {
            Kind::Unsigned if value < 0 => Value::Other,
            Kind::Signed | Kind::Unsigned => Value::Int(value),
            Kind::Character => match u32::try_from(value).ok().and_then(char::from_u32) {
                Some(c) => Value::Text(c.to_string().into()),
                None => Value::Other,
            },
        }
    }
}

/// Decodes a string of protocol 0: bytes are code points, others are escaped with `\u` and `\U`.
pub(super) fn unescaped(line: &[u8]) -> Option<Cow<'_, str>> {
    match std::str::from_utf8(line).ok().filter(|line| line.is_ascii()) {
        Some(line) => with_code_points(line),
        None => {
            let line: String = line.iter().copied().map(char::from).collect();
            with_code_points(&line).map(|text| text.into_owned().into())
        }
    }
}

fn with_code_points(line: &str) -> Option<Cow<'_, str>> {
    escaped(line, |escape, rest| {
        let n = match escape {
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let (digits, rest) = rest.split_at_checked(n)?;
        Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, rest))
    })
}

/// Decodes a quoted string of Python 2.
pub(super) fn unquoted(line: &str) -> Option<Cow<'_, str>> {
    let quote = line.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let inner = line.strip_prefix(quote)?.strip_suffix(quote)?;
    escaped(inner, |escape, rest| {
        let c = match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '\'' | '"' => escape,
            'x' => {
                let (digits, rest) = rest.split_at_checked(2)?;
                // other escapes are bytes, not characters
                return Some((char::from(u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?), rest));
            }
            _ => return None,
        };
        Some((c, rest))
    })
}

/// Replaces the escapes of a string. `one` takes the character after a backslash and the text that follows, and returns
/// the character meant and the rest; for an escape that it doesn't know, the backslash stays.
fn escaped(text: &str, one: impl Fn(char, &str) -> Option<(char, &str)>) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(text.into());
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (plain, behind) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = behind.chars();
        chars.next();
        let escape = chars.next();
        match escape.and_then(|escape| one(escape, chars.as_str())) {
            Some((c, left)) => {
                out.push(c);
                rest = left;
            }
            None => {
                out.push('\\');
                rest = &behind[1..];
            }
        }
    }
    out.push_str(rest);
    Some(out.into())
}
