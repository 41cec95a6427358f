//! The proof that a grammar is unambiguous, and an independent parser that checks it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Derivations, Grammar, Symbol};

/// Two alternatives of one rule, one of which can begin with the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The rule, with its arguments.
    pub rule: String,
    /// The two alternatives, counted from 0.
    pub alternatives: (usize, usize),
    /// The text at which one of them ends.
    pub text: String,
}

/// The symbols still to come: the id of a list cell, 0 for none.
type Rest = usize;

/// Lists of symbols with shared tails, equal lists having equal ids.
struct Rests {
    cells: Vec<(Head, Rest)>,
    ids: HashMap<(Head, Rest), Rest>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Head {
    End,
    Char(char),
    Rule(usize),
}

impl Rests {
    fn new() -> Rests {
        Rests { cells: vec![(Head::End, 0)], ids: HashMap::new() }
    }

    fn push(&mut self, head: Head, tail: Rest) -> Rest {
        *self.ids.entry((head, tail)).or_insert_with(|| {
            self.cells.push((head, tail));
            self.cells.len() - 1
        })
    }

    fn push_all(&mut self, symbols: &[Symbol], mut tail: Rest) -> Rest {
        for symbol in symbols.iter().rev() {
            match symbol {
                Symbol::Rule(i) => tail = self.push(Head::Rule(*i), tail),
                Symbol::Text(text) => {
                    for c in text.chars().rev() {
                        tail = self.push(Head::Char(c), tail);
                    }
                }
            }
        }
        tail
    }
}

pub(super) fn conflicts(grammar: &Grammar) -> Vec<Conflict> {
    let mut rests = Rests::new();
    let mut found = Vec::new();
    for rule in &grammar.rules {
        let whole: Vec<Rest> =
            rule.alternatives.iter().map(|alternative| rests.push_all(&alternative.symbols, 0)).collect();
        for right in 0..whole.len() {
            for left in 0..right {
                if let Some(text) = common(grammar, &mut rests, whole[left], whole[right]) {
                    found.push(Conflict { rule: rule.name.clone(), alternatives: (left, right), text });
                }
            }
        }
    }
    found
}

/// Returns a text of one list that is a prefix of a text of the other, or equal to it, if there is one: searches all
/// pairs of remainders after an equal beginning.
fn common(grammar: &Grammar, rests: &mut Rests, left: Rest, right: Rest) -> Option<String> {
    let mut seen = HashSet::new();
    let mut stack = vec![(left, right, String::new())];
    while let Some((left, right, text)) = stack.pop() {
        if !seen.insert((left, right)) {
            continue;
        }
        let (left_head, left_tail) = rests.cells[left];
        let (right_head, right_tail) = rests.cells[right];
        match (left_head, right_head) {
            (Head::End, _) | (_, Head::End) => return Some(text),
            (Head::Char(l), Head::Char(r)) => {
                if l == r {
                    stack.push((left_tail, right_tail, text + l.encode_utf8(&mut [0; 4])));
                }
            }
            // Equal beginnings of two texts of one rule are equal texts, because the rule is itself prefix-free:
            // it precedes the rule under test and has been tested. Any one text will do for the report.
            (Head::Rule(l), Head::Rule(r)) if l == r => {
                let name = &grammar.rules[l].name;
                stack.push((left_tail, right_tail, format!("{text}{{{name}}}")));
            }
            (Head::Rule(l), _) => {
                for alternative in &grammar.rules[l].alternatives {
                    let left = rests.push_all(&alternative.symbols, left_tail);
                    stack.push((left, right, text.clone()));
                }
            }
            (_, Head::Rule(r)) => {
                for alternative in &grammar.rules[r].alternatives {
                    let right = rests.push_all(&alternative.symbols, right_tail);
                    stack.push((left, right, text.clone()));
                }
            }
        }
    }
    None
}

/// For each place where a rule can end: the number of derivations up to there, and their probability.
type Ends = BTreeMap<usize, (u64, f64)>;

pub(super) fn derivations(grammar: &Grammar, text: &str) -> Derivations {
    let mut known = HashMap::new();
    let ends = rule_ends(grammar, text, grammar.rules.len() - 1, 0, &mut known);
    let (count, probability) = ends.get(&text.len()).copied().unwrap_or((0, 0.0));
    Derivations { count, nats: -probability.ln() }
}

fn rule_ends(
    grammar: &Grammar,
    text: &str,
    rule: usize,
    start: usize,
    known: &mut HashMap<(usize, usize), Ends>,
) -> Ends {
    if let Some(ends) = known.get(&(rule, start)) {
        return ends.clone();
    }
    let mut all = Ends::new();
    let rule_ref = &grammar.rules[rule];
    for alternative in &rule_ref.alternatives {
        let mut at = Ends::from([(start, (1, rule_ref.probability(alternative)))]);
        for symbol in &alternative.symbols {
            let mut next = Ends::new();
            for (place, (count, p)) in at {
                match symbol {
                    Symbol::Text(expected) => {
                        if text[place..].starts_with(expected.as_str()) {
                            add(&mut next, place + expected.len(), count, p);
                        }
                    }
                    Symbol::Rule(called) => {
                        for (end, (n, q)) in rule_ends(grammar, text, *called, place, known) {
                            add(&mut next, end, count * n, p * q);
                        }
                    }
                }
            }
            at = next;
        }
        for (end, (count, p)) in at {
            add(&mut all, end, count, p);
        }
    }
    known.insert((rule, start), all.clone());
    all
}

fn add(ends: &mut Ends, end: usize, count: u64, p: f64) {
    let entry = ends.entry(end).or_insert((0, 0.0));
    entry.0 += count;
    entry.1 += p;
}
