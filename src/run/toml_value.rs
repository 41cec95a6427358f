//! TOML values for serde, with errors that name the key, the line, what was found and what was expected.

use std::fmt::{self, Display};
use std::iter::Enumerate;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeString, DeValue};

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Fault {
    /// Units: bytes from the start of the text; `None` if it isn't in the text.
    pub at: Option<usize>,
    /// Keys joined by dots, and indices of lists.
    pub path: String,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The last key of the path is unknown; these exist.
    NoKey(&'static [&'static str]),
    /// A table lacks this key.
    Lacks(&'static str),
    /// A value isn't what is expected.
    Other(String),
}

impl Fault {
    fn new(what: What) -> Self {
        Self { at: None, path: String::new(), what }
    }

    /// Moves the fault below a key.
    fn below(mut self, key: &str, at: usize) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{key}{joint}{}", self.path);
        self.at.get_or_insert(at);
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::NoKey(keys) => write!(f, "unknown setting; expected one of {}", keys.join(", ")),
            What::Lacks(key) => write!(f, "{key} is missing"),
            What::Other(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Self::new(What::Other(words.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("found {found}, expected {expected}"))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(What::NoKey(expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::Lacks(field))
    }
}

/// A value with its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(pub &'a Spanned<DeValue<'a>>);

impl Value<'_> {
    fn not(self, expected: &str) -> Fault {
        let mut fault = Fault::new(What::Other(format!("found {}, expected {expected}", found(self.0.get_ref()))));
        fault.at = Some(self.0.span().start);
        fault
    }

    /// An integer of at most `most`.
    fn whole(self, most: u64) -> Result<u64, Fault> {
        let number = match self.0.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.filter(|&n| n <= most).ok_or_else(|| self.not(&format!("a whole number from 0 to {most}")))
    }

    fn number(self) -> Result<f64, Fault> {
        let number = match self.0.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n as f64),
            // a literal too large for a float isn't meant as infinity
            DeValue::Float(text) => {
                text.as_str().parse().ok().filter(|n: &f64| n.is_finite() || text.as_str().contains(['i', 'n']))
            }
            _ => None,
        };
        number.ok_or_else(|| self.not("a number, such as 0.001"))
    }
}

impl<'de> de::Deserializer<'de> for Value<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.get_ref() {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Integer(_) => visitor.visit_u64(self.whole(u64::MAX)?),
            DeValue::Float(_) => visitor.visit_f64(self.number()?),
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Datetime(_) => Err(self.not("another value")),
            DeValue::Array(_) => self.deserialize_seq(visitor),
            DeValue::Table(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(self.0.get_ref().as_bool().ok_or_else(|| self.not("true or false"))?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u64(self.whole(u32::MAX.into())?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // TOML's largest integer
        visitor.visit_u64(self.whole(i64::MAX as u64)?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.0.get_ref().as_str().ok_or_else(|| self.not("text in quotes"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let items =
            self.0.get_ref().as_array().ok_or_else(|| self.not("a list in brackets, such as [\"a\", \"b\"]"))?;
        visitor.visit_seq(Items(items.iter().enumerate()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let table = self.0.get_ref().as_table();
        let table =
            table.ok_or_else(|| self.not("a table: its name in brackets, and its settings on the lines below"))?;
        visitor.visit_map(Entries { rest: Box::new(table.iter()), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let name = self.0.get_ref().as_str().filter(|name| variants.contains(name));
        let name = name.ok_or_else(|| self.not(&format!("one of \"{}\"", variants.join("\", \""))))?;
        let name: StrDeserializer<'_, Fault> = name.into_deserializer();
        visitor.visit_enum(name)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct identifier
        ignored_any
    }
}

/// The items of a list.
struct Items<'a>(Enumerate<slice::Iter<'a, Spanned<DeValue<'a>>>>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((i, item)) = self.0.next() else { return Ok(None) };
        read(seed, item, &format!("[{i}]")).map(Some)
    }
}

/// The entries of a table.
struct Entries<'a> {
    rest: Box<dyn Iterator<Item = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> + 'a>,
    /// The value of the last key that was read.
    value: Option<(&'a str, &'a Spanned<DeValue<'a>>)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key.get_ref(), value));
        let name: StrDeserializer<'_, Fault> = key.get_ref().as_ref().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.below(key.get_ref(), key.span().start))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, value) = self.value.take().unwrap_or_else(|| panic!("a value follows its key"));
        read(seed, value, key)
    }
}

/// Reads the value of a key.
fn read<'de, T: DeserializeSeed<'de>>(seed: T, value: &Spanned<DeValue<'_>>, key: &str) -> Result<T::Value, Fault> {
    seed.deserialize(Value(value)).map_err(|mut fault| {
        // the message about a string repeats all of it; leave that out
        if let (None, What::Other(words), DeValue::String(_)) = (fault.at, &mut fault.what, value.get_ref()) {
            *words = format!("found {}, but {words}", found(value.get_ref()));
        }
        fault.below(key, value.span().start)
    })
}

/// Describes a value.
fn found(value: &DeValue<'_>) -> String {
    const MAX_CHARS: usize = 40;
    let short = |text: &str| {
        let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(end, _)| end);
        let dots = if end < text.len() { "..." } else { "" };
        format!("{}{dots}", text[..end].escape_debug())
    };
    match value {
        DeValue::String(text) => format!("the text \"{}\"", short(text)),
        DeValue::Integer(number) => format!("the number {}", short(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", short(number.as_str())),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table of settings".into(),
    }
}
