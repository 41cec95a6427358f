//! The text form of a grammar.
//!
//! ```text
//! # A comment.
//! start:
//!   3 | {greet:"Mila","she"}        <- weight, bar, text
//!   1 | {greet:"Otto","he"}
//! greet(name, they):
//!   1 | Hello, {name}! {^they} waves {how}.\n
//! how:
//!   2 | slowly
//!   1 | with both hands
//! ```
//!
//! `{x}` is the parameter x, or a call of the rule x; `{^x}` is the same with a capital in front. Arguments
//! are parameters or quoted texts. `\n` is a line break. Rules may call only rules below them in the file (so there
//! is no recursion), and the first rule is the start. A rule is expanded once for each list of arguments.

use std::collections::HashMap;
use std::str::FromStr;

use super::{Alternative, Grammar, Rule, Symbol};
use crate::data::DataError;

/// A rule as written in the file.
struct Source {
    name: String,
    parameters: Vec<String>,
    line: usize,
    alternatives: Vec<SourceAlternative>,
}

struct SourceAlternative {
    weight: u64,
    line: usize,
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Parameter { at: usize, capital: Capital },
    Call { rule: usize, capital: Capital, arguments: Vec<Argument> },
}

enum Argument {
    Text(String),
    Parameter(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Capital {
    AsGiven,
    First,
}

/// A rule, whether it begins with a capital, and the arguments it is expanded for.
type Key = (usize, Capital, Vec<String>);

impl FromStr for Grammar {
    type Err = DataError;

    /// # Errors
    /// [`DataError::Grammar`] with the line, for any violation of the format.
    fn from_str(text: &str) -> Result<Grammar, DataError> {
        let sources = read_rules(text)?;
        let mut writer = Writer { sources: &sources, rules: Vec::new(), done: HashMap::new() };
        writer.write_out((0, Capital::AsGiven, Vec::new()));
        Ok(Grammar { rules: writer.rules })
    }
}

fn read_rules(text: &str) -> Result<Vec<Source>, DataError> {
    let mut sources: Vec<Source> = Vec::new();
    let mut bodies: Vec<Vec<(usize, u64, &str)>> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let number = i + 1;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') {
            sources.push(read_header(line, number)?);
            bodies.push(Vec::new());
            continue;
        }
        let Some((weight, body)) = line.trim().split_once(" | ") else {
            return Err(wrong(number, "an alternative needs a weight, a bar and a text"));
        };
        // small enough for a sum of them to fit u64
        let weight = match weight.trim().parse::<u32>() {
            Ok(weight) if weight > 0 => weight.into(),
            _ => return Err(wrong(number, "a weight must be a whole number above 0 and below 2^32")),
        };
        let Some(bodies) = bodies.last_mut() else {
            return Err(wrong(number, "an alternative comes before the first rule"));
        };
        bodies.push((number, weight, body));
    }
    if sources.is_empty() {
        return Err(wrong(1, "there is no rule"));
    }
    if !sources[0].parameters.is_empty() {
        return Err(wrong(sources[0].line, "the first rule takes no parameters"));
    }
    for i in 1..sources.len() {
        if sources[..i].iter().any(|rule| rule.name == sources[i].name) {
            return Err(wrong(sources[i].line, "the rule is defined twice"));
        }
    }
    for (i, bodies) in bodies.into_iter().enumerate() {
        if bodies.is_empty() {
            return Err(wrong(sources[i].line, "the rule has no alternative"));
        }
        for (line, weight, body) in bodies {
            let parts = read_body(body, line, i, &sources)?;
            sources[i].alternatives.push(SourceAlternative { weight, line, parts });
        }
    }
    check_use(&sources)?;
    Ok(sources)
}

fn read_header(line: &str, number: usize) -> Result<Source, DataError> {
    let Some(header) = line.trim_end().strip_suffix(':') else {
        return Err(wrong(number, "a rule must begin with its name and a colon"));
    };
    let (name, parameters) = match header.split_once('(') {
        None => (header, Vec::new()),
        Some((name, rest)) => {
            let Some(list) = rest.strip_suffix(')') else {
                return Err(wrong(number, "the list of parameters is not closed"));
            };
            let parameters = list.split(',').map(|name| name.trim().to_string());
            (name, parameters.collect::<Vec<_>>())
        }
    };
    if let Some(bad) = std::iter::once(name).chain(parameters.iter().map(String::as_str)).find(|name| !is_name(name)) {
        return Err(wrong(number, format!("{bad:?} is not a name")));
    }
    Ok(Source { name: name.into(), parameters, line: number, alternatives: Vec::new() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn read_body(body: &str, line: usize, rule: usize, sources: &[Source]) -> Result<Vec<Part>, DataError> {
    let mut parts = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            parts.push(Part::Text(rest.replace("\\n", "\n")));
            break;
        };
        if open > 0 {
            parts.push(Part::Text(rest[..open].replace("\\n", "\n")));
        }
        let Some(close) = rest[open..].find('}') else {
            return Err(wrong(line, "a brace is never closed"));
        };
        parts.push(read_call(&rest[open + 1..open + close], line, rule, sources)?);
        rest = &rest[open + close + 1..];
    }
    Ok(parts)
}

fn read_call(call: &str, line: usize, rule: usize, sources: &[Source]) -> Result<Part, DataError> {
    let parameters = &sources[rule].parameters;
    let parameter = |name: &str| parameters.iter().position(|p| p == name);
    let (capital, call) = match call.strip_prefix('^') {
        Some(call) => (Capital::First, call),
        None => (Capital::AsGiven, call),
    };
    if let Some(at) = parameter(call) {
        return Ok(Part::Parameter { at, capital });
    }
    let (name, list) = match call.split_once(':') {
        Some((name, list)) => (name, list.split(',').collect()),
        None => (call, Vec::new()),
    };
    let Some(called) = sources.iter().position(|source| source.name == name) else {
        return Err(wrong(line, format!("{name:?} is neither a parameter nor a rule")));
    };
    if called <= rule {
        return Err(wrong(line, format!("{name:?} is not below this rule")));
    }
    let wanted = sources[called].parameters.len();
    if list.len() != wanted {
        return Err(wrong(line, format!("{name:?} takes {wanted} arguments, not {}", list.len())));
    }
    let mut arguments = Vec::new();
    for argument in list {
        let argument = argument.trim();
        let quoted = argument.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        arguments.push(match (quoted, parameter(argument)) {
            (Some(text), _) => Argument::Text(text.into()),
            (None, Some(at)) => Argument::Parameter(at),
            (None, None) => {
                return Err(wrong(line, format!("{argument:?} is neither a parameter nor a quoted text")));
            }
        });
    }
    Ok(Part::Call { rule: called, capital, arguments })
}

/// Checks that every rule but the first is called, and every parameter used.
fn check_use(sources: &[Source]) -> Result<(), DataError> {
    for (i, source) in sources.iter().enumerate() {
        let called = sources
            .iter()
            .flat_map(|source| &source.alternatives)
            .flat_map(|alternative| &alternative.parts)
            .any(|part| matches!(part, Part::Call { rule, .. } if *rule == i));
        if i > 0 && !called {
            return Err(wrong(source.line, "no rule calls this one"));
        }
        for (at, name) in source.parameters.iter().enumerate() {
            let used = source.alternatives.iter().flat_map(|alternative| &alternative.parts).any(|part| match part {
                Part::Text(_) => false,
                Part::Parameter { at: used, .. } => *used == at,
                Part::Call { arguments, .. } => {
                    arguments.iter().any(|argument| matches!(argument, Argument::Parameter(a) if *a == at))
                }
            });
            if !used {
                return Err(wrong(source.line, format!("parameter {name:?} is never used")));
            }
        }
        let empty = source.alternatives.iter().find(|alternative| alternative.parts.is_empty());
        if let Some(alternative) = empty {
            return Err(wrong(alternative.line, "the alternative is empty"));
        }
    }
    Ok(())
}

/// Expands rules for their arguments, called ones first.
struct Writer<'a> {
    sources: &'a [Source],
    rules: Vec<Rule>,
    done: HashMap<Key, usize>,
}

impl Writer<'_> {
    fn write_out(&mut self, key: Key) -> usize {
        if let Some(&at) = self.done.get(&key) {
            return at;
        }
        let source = &self.sources[key.0];
        let given = &key.2;
        let mut alternatives = Vec::new();
        for alternative in &source.alternatives {
            let mut symbols: Vec<Symbol> = Vec::new();
            for (i, part) in alternative.parts.iter().enumerate() {
                let inherited = if i == 0 { key.1 } else { Capital::AsGiven };
                let text = match part {
                    Part::Text(text) => capitalised(text, inherited),
                    Part::Parameter { at, capital } => capitalised(&given[*at], capital.or(inherited)),
                    Part::Call { rule, capital, arguments } => {
                        let arguments = arguments
                            .iter()
                            .map(|argument| match argument {
                                Argument::Text(text) => text.clone(),
                                Argument::Parameter(at) => given[*at].clone(),
                            })
                            .collect();
                        let key = (*rule, capital.or(inherited), arguments);
                        symbols.push(Symbol::Rule(self.write_out(key)));
                        continue;
                    }
                };
                match symbols.last_mut() {
                    Some(Symbol::Text(before)) => before.push_str(&text),
                    _ => symbols.push(Symbol::Text(text)),
                }
            }
            alternatives.push(Alternative { weight: alternative.weight, symbols });
        }
        self.rules.push(Rule {
            name: if given.is_empty() { source.name.clone() } else { format!("{}({})", source.name, given.join(", ")) },
            total: alternatives.iter().map(|a| a.weight).sum(),
            alternatives,
        });
        let at = self.rules.len() - 1;
        self.done.insert(key, at);
        at
    }
}

impl Capital {
    fn or(self, other: Capital) -> Capital {
        match self {
            Capital::First => Capital::First,
            Capital::AsGiven => other,
        }
    }
}

fn capitalised(text: &str, capital: Capital) -> String {
    let mut chars = text.chars();
    match (capital, chars.next()) {
        (Capital::First, Some(first)) => first.to_uppercase().chain(chars).collect(),
        _ => text.into(),
    }
}

fn wrong(line: usize, reason: impl Into<String>) -> DataError {
    DataError::Grammar { line, reason: reason.into() }
}
