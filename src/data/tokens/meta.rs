use std::collections::HashSet;

use super::pickle::{Pickle, Value};
use crate::data::Tokenizer;

/// The tokenizer of nanoGPT's data sets of characters, from the content of their `meta.pkl`: a pickle of a dictionary with
/// `vocab_size`, `itos` and `stoi`.
///
/// # Errors
///
/// Why there is none in it.
pub fn tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    let pickle = Pickle::read(bytes)?;
    let entry = |name: &str| pickle.get(pickle.root(), name);
    let (keys, texts): (Vec<Value<'_>>, Vec<usize>) = match entry("itos") {
        Some(Value::Dict(items)) => items.iter().map(|&(key, value)| (pickle.value(key).clone(), value)).unzip(),
        Some(Value::List(items)) => (0..).map(Value::Int).zip(items.iter().copied()).unzip(),
        _ => return Err("it has no itos, which says what each id stands for".into()),
    };
    let mut chars: Vec<Option<char>> = vec![None; keys.len()];
    for (key, text) in keys.iter().zip(texts) {
        let Value::Int(id) = key else { return Err("a key of its itos is no number".into()) };
        let place = usize::try_from(*id).ok().and_then(|id| chars.get_mut(id));
        let place = place.ok_or_else(|| format!("id {id} of its itos is not among 0..{}", keys.len()))?;
        *place = Some(character(pickle.value(text)).ok_or_else(|| format!("id {id} stands for no single character"))?);
    }
    let chars: Vec<char> =
        chars.into_iter().collect::<Option<_>>().ok_or("an id occurs twice in its itos, and another not at all")?;
    if chars.is_empty() {
        return Err("its itos is empty".into());
    }
    if !matches!(entry("vocab_size"), Some(Value::Int(n)) if usize::try_from(*n) == Ok(chars.len())) {
        return Err(format!("its vocab_size is not the {} ids of its itos", chars.len()));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = chars.iter().find(|&&c| !seen.insert(c)) {
        return Err(format!("{twice:?} has two ids"));
    }
    let Some(Value::Dict(items)) = entry("stoi") else {
        return Err("it has no stoi, which gives each character its id".into());
    };
    for &(text, id) in items {
        let (Some(c), Value::Int(id)) = (character(pickle.value(text)), pickle.value(id)) else {
            return Err("its stoi is not about characters and numbers".into());
        };
        if usize::try_from(*id).ok().and_then(|id| chars.get(id)) != Some(&c) {
            return Err(format!("its stoi gives {c:?} the id {id}, and its itos doesn't"));
        }
        seen.remove(&c);
    }
    match seen.iter().next() {
        Some(c) => Err(format!("its stoi lacks {c:?}")),
        None => Ok(Tokenizer::from_chars(chars)),
    }
}

fn character(value: &Value<'_>) -> Option<char> {
    let Value::Text(text) = value else { return None };
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}
