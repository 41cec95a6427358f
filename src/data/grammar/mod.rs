//! Weighted context-free grammars whose entropy is known.
//!
//! A grammar here has no recursion and its choices are prefix-free ([`Grammar::conflicts`] proves it), so a text has
//! one derivation only and can be read back from left to right. The entropy of the text is then the entropy of the
//! choices: `H(rule) = sum over alternatives of p * (-ln p + H of the rules it calls)`, and the expected length
//! follows the same recursion.
//!
//! Weights are integers and choices use u64 arithmetic, so a seed gives the same text on every platform.

mod parse;
mod proof;

pub use proof::Conflict;

use std::fmt::Write;

use super::permutation::{Purpose, below, rng};

/// A weighted context-free grammar without recursion, its rules expanded for each list of arguments.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// A rule calls only earlier rules; the last is the start.
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The name in the file, and the arguments it was expanded for.
    name: String,
    alternatives: Vec<Alternative>,
    /// The sum of the weights.
    total: u64,
}

#[derive(Clone, Debug)]
struct Alternative {
    weight: u64,
    symbols: Vec<Symbol>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Symbol {
    Text(String),
    Rule(usize),
}

/// One text sampled from a grammar.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The text.
    pub text: String,
    /// Units: nats; minus the logarithm of the text's probability.
    pub nats: f64,
}

/// Exact expectations of one text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entropy {
    /// Units: nats per text.
    pub nats: f64,
    /// Units: characters per text.
    pub chars: f64,
}

impl Rule {
    /// The probability of an alternative.
    fn probability(&self, alternative: &Alternative) -> f64 {
        // Weights are small whole numbers, exact in f64.
        alternative.weight as f64 / self.total as f64
    }
}

impl Grammar {
    /// Samples text number `index` of a seed.
    pub fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut rng = rng(Purpose::Stories, seed, index);
        let mut sample = Sample { text: String::new(), nats: 0.0 };
        let mut stack = vec![Symbol::Rule(self.rules.len() - 1)];
        while let Some(symbol) = stack.pop() {
            match symbol {
                Symbol::Text(text) => sample.text.push_str(&text),
                Symbol::Rule(i) => {
                    let rule = &self.rules[i];
                    let alternative = rule.pick(below(&mut rng, rule.total));
                    sample.nats -= rule.probability(alternative).ln();
                    stack.extend(alternative.symbols.iter().rev().cloned());
                }
            }
        }
        sample
    }

    /// The exact entropy and expected length of one text.
    ///
    /// Source: Grenander 1967, "Syntax-controlled probabilities" (derivational entropy); for a grammar with one
    /// derivation a text it is the entropy of the texts.
    pub fn entropy(&self) -> Entropy {
        let mut done: Vec<Entropy> = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let mut sum = Entropy { nats: 0.0, chars: 0.0 };
            for alternative in &rule.alternatives {
                let p = rule.probability(alternative);
                sum.nats -= p * p.ln();
                for symbol in &alternative.symbols {
                    match symbol {
                        Symbol::Text(text) => sum.chars += p * text.chars().count() as f64,
                        Symbol::Rule(i) => {
                            sum.nats += p * done[*i].nats;
                            sum.chars += p * done[*i].chars;
                        }
                    }
                }
            }
            done.push(sum);
        }
        done[done.len() - 1]
    }

    /// The number of rules, each counted once for every list of arguments it is called with.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// The number of alternatives in all rules.
    pub fn alternative_count(&self) -> usize {
        self.rules.iter().map(|rule| rule.alternatives.len()).sum()
    }

    /// Lists the grammar without arguments: one paragraph per rule; `<7>` calls rule 7.
    pub fn listing(&self) -> String {
        let mut out = String::new();
        for (i, rule) in self.rules.iter().enumerate() {
            // Writing to a String can't fail.
            let _ = writeln!(out, "<{i}> {}", rule.name);
            for alternative in &rule.alternatives {
                let _ = write!(out, "  {} |", alternative.weight);
                for symbol in &alternative.symbols {
                    let _ = match symbol {
                        Symbol::Text(text) => write!(out, " {text:?}"),
                        Symbol::Rule(i) => write!(out, " <{i}>"),
                    };
                }
                out.push('\n');
            }
        }
        out
    }

    /// Counts the derivations of a text and sums their probability.
    ///
    /// A general parser that makes no assumptions, made to check [`Grammar::sample`] and
    /// [`Grammar::conflicts`]: exactly one derivation, and `nats` equal to the sample's.
    pub fn derivations(&self, text: &str) -> Derivations {
        proof::derivations(self, text)
    }

    /// Finds every place where two choices of a rule could begin alike; empty if the grammar is unambiguous.
    ///
    /// If no text of one alternative is a prefix of a text of another, for each rule, then by induction over the
    /// (acyclic) rules each rule's texts are a prefix code, so are their concatenations, and a text, or a series of
    /// texts, has one derivation. The condition is decided exactly, not sampled.
    pub fn conflicts(&self) -> Vec<Conflict> {
        proof::conflicts(self)
    }
}

impl Rule {
    fn pick(&self, mut number: u64) -> &Alternative {
        for alternative in &self.alternatives {
            if number < alternative.weight {
                return alternative;
            }
            number -= alternative.weight;
        }
        unreachable!("the number is below the sum of the weights")
    }
}

/// The derivations of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derivations {
    /// Their number; 0 for a text that isn't in the language.
    pub count: u64,
    /// Units: nats; minus the logarithm of the text's probability, infinite if the count is 0.
    pub nats: f64,
}
