//! Grammars: parsing, sampling, exact entropy, and the proof of unambiguity, on small ones known by hand.

use tril::data::grammar::Grammar;

fn grammar(text: &str) -> Grammar {
    text.parse().unwrap()
}

const COINS: &str = "toss:\n  3 | {side} {side}!\n  1 | lost\nside:\n  1 | heads\n  1 | tails\n";

#[test]
fn entropy_and_length_of_a_grammar_known_by_hand() {
    let entropy = grammar(COINS).entropy();
    // Lost or not: -(3/4 ln 3/4 + 1/4 ln 1/4); then two fair coins, three times in four.
    let by_hand = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln()) + 0.75 * 2.0 * 2f64.ln();
    assert!((entropy.nats - by_hand).abs() < 1e-14, "{entropy:?}");
    assert!((entropy.chars - (0.75 * 12.0 + 0.25 * 4.0)).abs() < 1e-14);
}

#[test]
fn the_greatest_weights_add_up() {
    let coins = grammar("toss:\n  4294967295 | heads\n  4294967295 | tails\n");
    assert!((coins.entropy().nats - 2f64.ln()).abs() < 1e-14, "{:?}", coins.entropy());
    let mut sides: Vec<String> = (0..100).map(|i| coins.sample(1, i).text).collect();
    sides.sort();
    sides.dedup();
    assert_eq!(sides, ["heads", "tails"]);
}

#[test]
fn samples_follow_the_weights() {
    let grammar = grammar(COINS);
    let n = 10_000;
    let samples: Vec<String> = (0..n).map(|i| grammar.sample(1, i).text).collect();
    // Binomial with p 1/4: mean 2,500, standard deviation 43; p 3/16: mean 1,875, deviation 39. Five deviations.
    for (text, mean, slack) in [("lost", 2500, 5 * 43), ("heads tails!", 1875, 5 * 39)] {
        let count = samples.iter().filter(|sample| *sample == text).count();
        assert!(count.abs_diff(mean) < slack, "{text}: {count}");
    }
}

#[test]
fn arguments_and_capitals_are_written_out() {
    let grammar = grammar(
        "s:\n  1 | {greet:\"mila\",\"she\"}\ngreet(n, p):\n  1 | {^n}! {^how:p} {n}.\\n{^p}.\nhow(p):\n  1 | {word} {p}\nword:\n  1 | so does\n",
    );
    assert_eq!(grammar.sample(0, 0).text, "Mila! So does she mila.\nShe.");
    assert_eq!(grammar.sample(0, 0).nats, 0.0);
}

#[test]
fn ambiguous_grammars_are_found_out() {
    let ambiguous = [
        // The same text twice.
        "s:\n  1 | a\n  1 | a\n",
        // One text begins another.
        "s:\n  1 | star\n  1 | starfish\n",
        // Through a rule, with the border elsewhere.
        "s:\n  1 | a{b}\n  1 | {c}x\nb:\n  1 | bx\n  1 | y\nc:\n  1 | ab\n",
        // One rule is a prefix code, the other not.
        "s:\n  1 | {a}{b}\na:\n  1 | x\n  1 | xy\nb:\n  1 | yz\n  1 | z\n",
        // The difference comes after a common rule, but only in one of the texts.
        "s:\n  1 | {a}{b}\n  1 | {a}{c}\na:\n  1 | x\nb:\n  1 | p\n  1 | q\nc:\n  1 | r\n  1 | qq\n",
    ];
    for text in ambiguous {
        assert!(!grammar(text).conflicts().is_empty(), "{text}");
    }
    let clear = [
        COINS,
        "s:\n  1 | {a} one\n  1 | {a} two\na:\n  1 | x\n  1 | y\n",
        "s:\n  1 | {a}1\n  1 | {b}2\na:\n  1 | x\n  1 | y\nb:\n  1 | x\n  1 | z\n",
    ];
    for text in clear {
        assert_eq!(grammar(text).conflicts(), [], "{text}");
    }
}

#[test]
fn derivations_are_counted() {
    // "xyz" is x|yz and xy|z, each with probability 1/4; "xz" has one derivation.
    let two = grammar("s:\n  1 | {a}{b}\na:\n  1 | x\n  1 | xy\nb:\n  1 | yz\n  1 | z\n");
    let both = two.derivations("xyz");
    assert_eq!(both.count, 2);
    assert!((both.nats - 2f64.ln()).abs() < 1e-14);
    assert_eq!(two.derivations("xz").count, 1);
    for no in ["", "x", "xyzz", "qxyz"] {
        let none = two.derivations(no);
        assert_eq!((none.count, none.nats), (0, f64::INFINITY), "{no}");
    }
}

#[test]
fn a_wrong_grammar_file_is_refused_with_the_line() {
    let table = [
        ("", 1, "there is no rule"),
        ("s\n", 1, "a rule must begin with its name and a colon"),
        ("S:\n  1 | a\n", 1, "\"S\" is not a name"),
        ("s(a:\n  1 | a\n", 1, "the list of parameters is not closed"),
        ("s(a):\n  1 | {a}\n", 1, "the first rule takes no parameters"),
        ("  1 | a\n", 1, "an alternative comes before the first rule"),
        ("s:\n", 1, "the rule has no alternative"),
        ("s:\n  a\n", 2, "an alternative needs a weight, a bar and a text"),
        ("s:\n  0 | a\n", 2, "a weight is a whole number above 0 and below 2^32"),
        ("s:\n  -1 | a\n", 2, "a weight is a whole number above 0 and below 2^32"),
        ("s:\n  4294967296 | a\n", 2, "a weight is a whole number above 0 and below 2^32"),
        ("s:\n  1 | {a\n", 2, "a brace is never closed"),
        ("s:\n  1 | {b}\n", 2, "\"b\" is neither a parameter nor a rule"),
        ("s:\n  1 | {s}\n", 2, "\"s\" is not below this rule"),
        ("s:\n  1 | {t}\nt:\n  1 | {s}\n", 4, "\"s\" is not below this rule"),
        ("s:\n  1 | {t:\"a\"}\nt:\n  1 | b\n", 2, "\"t\" takes 0 arguments, not 1"),
        ("s:\n  1 | {t:a}\nt(x):\n  1 | {x}\n", 2, "\"a\" is neither a parameter nor a quoted text"),
        ("# c\n\ns:\n  1 | a\ns:\n  1 | b\n", 5, "the rule is defined twice"),
        ("s:\n  1 | a\nt:\n  1 | b\n", 3, "no rule calls this one"),
        ("s:\n  1 | {t:\"a\"}\nt(x):\n  1 | b\n", 3, "parameter \"x\" is never used"),
    ];
    for (text, line, reason) in table {
        let error = text.parse::<Grammar>().unwrap_err();
        assert_eq!(error.to_string(), format!("line {line} of the grammar: {reason}: correct the grammar file"),);
    }
}
