use std::collections::HashSet;

use super::pickle::{Pickle, Value};
use crate::data::Tokenizer;
use crate::units::count;

/// Reads the tokenizer of nanoGPT's character data sets from the content of their `meta.pkl`: a pickled dictionary with
/// `itos` or `stoi`, or both, and `vocab_size`. With only `vocab_size` it is GPT-2's, if that is the size of its
/// vocabulary.
///
/// # Errors
///
/// Why it holds no tokenizer.
pub fn tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    let pickle = Pickle::read(bytes)?;
    let entry = |name: &str| pickle.get(pickle.root(), name);
    let vocab_size = match entry("vocab_size") {
        None => None,
        Some(Value::Int(n)) => Some(*n),
        Some(_) => return Err("its vocab_size is not a number".into()),
    };
    let stoi = match entry("stoi") {
        None => None,
        Some(Value::Dict(items)) => Some(items),
        Some(_) => return Err("its stoi is not a dictionary from characters to ids".into()),
    };
    let (ids, texts): (Vec<Value<'_>>, Vec<usize>) = match (entry("itos"), stoi) {
        (Some(Value::Dict(items)), _) => items.iter().map(|&(key, value)| (pickle.value(key).clone(), value)).unzip(),
        (Some(Value::List(items)), _) => (0..).map(Value::Int).zip(items.iter().copied()).unzip(),
        (None, Some(items)) => items.iter().map(|&(text, id)| (pickle.value(id).clone(), text)).unzip(),
        _ => return without_characters(vocab_size),
    };
    let mut chars: Vec<Option<char>> = vec![None; ids.len()];
    for (id, text) in ids.iter().zip(texts) {
        let Value::Int(id) = id else { return Err("an id in it is not a number".into()) };
        let place = usize::try_from(*id).ok().and_then(|id| chars.get_mut(id));
        let place = place.ok_or_else(|| format!("its id {id} is not among 0..{}", ids.len()))?;
        *place = Some(
            character(pickle.value(text))
                .ok_or_else(|| format!("its id {id} does not stand for a single character"))?,
        );
    }
    let chars: Vec<char> =
        chars.into_iter().collect::<Option<_>>().ok_or("one of its ids occurs twice, and another is missing")?;
    if chars.is_empty() {
        return Err("its itos is empty".into());
    }
    if vocab_size.is_some_and(|n| usize::try_from(n) != Ok(chars.len())) {
        return Err(format!("its vocab_size is not the {} of its itos", count(chars.len(), "id")));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = chars.iter().find(|&&c| !seen.insert(c)) {
        return Err(format!("{twice:?} has two ids"));
    }
    let Some(stoi) = stoi else { return Ok(Tokenizer::from_chars(chars)) };
    for &(text, id) in stoi {
        let (Some(c), Value::Int(id)) = (character(pickle.value(text)), pickle.value(id)) else {
            return Err("its stoi does not map characters to numbers".into());
        };
        if usize::try_from(*id).ok().and_then(|id| chars.get(id)) != Some(&c) {
            return Err(format!("its stoi gives {c:?} the id {id}, but its itos doesn't"));
        }
        seen.remove(&c);
    }
    match seen.iter().next() {
        Some(c) => Err(format!("its stoi lacks {c:?}")),
        None => Ok(Tokenizer::from_chars(chars)),
    }
}

fn without_characters(vocab_size: Option<i64>) -> Result<Tokenizer, String> {
    // nanoGPT pads GPT-2's vocabulary to a multiple of 64
    const OF_GPT2: [i64; 2] = [50_257, 50_304];
    match vocab_size {
        Some(n) if OF_GPT2.contains(&n) => Ok(Tokenizer::gpt2()),
        Some(256) => Err("it has no itos to say what its 256 ids stand for; if they are bytes, use byte".into()),
        Some(n) => Err(format!("it has no itos to say what its {n} ids stand for")),
        None => Err("it has no itos to say what its ids stand for".into()),
    }
}

fn character(value: &Value<'_>) -> Option<char> {
    let Value::Text(text) = value else { return None };
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}
