//! The embedded stories and the floor under their loss.

use tril::data::{Dataset, Mode, Options, Text, Tokenizer, embedded};

#[test]
fn no_choice_of_the_stories_is_ambiguous() {
    assert_eq!(embedded::grammar().conflicts(), []);
}

#[test]
fn each_story_has_one_derivation_with_the_probability_it_was_drawn_with() {
    let grammar = embedded::grammar();
    for index in 0..300 {
        let story = grammar.sample(11, index);
        let found = grammar.derivations(&story.text);
        assert_eq!(found.count, 1, "{}", story.text);
        // About 60 factors, each rounded: far below 1e-9 of a sum of some 50 nats.
        assert!((found.nats - story.nats).abs() < 1e-9, "{}", story.text);
    }
    let story = grammar.sample(11, 0).text;
    assert_eq!(grammar.derivations(&story.replacen(' ', "  ", 1)).count, 0);
}

#[test]
fn the_exact_entropy_agrees_with_sampled_stories() {
    let grammar = embedded::grammar();
    let exact = grammar.entropy();
    let n = 20_000;
    let stories: Vec<(f64, f64)> = (0..n)
        .map(|index| grammar.sample(3, index))
        .map(|story| (story.nats, story.text.chars().count() as f64))
        .collect();
    let check = |name: &str, exact: f64, values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (variance / n).sqrt();
        assert!((mean - exact).abs() < 4.0 * error, "{name}: {mean} and {exact}, standard error {error}");
    };
    let nats: Vec<f64> = stories.iter().map(|story| story.0).collect();
    let chars: Vec<f64> = stories.iter().map(|story| story.1).collect();
    check("nats", exact.nats, &nats);
    check("characters", exact.chars, &chars);
    // The ratio: the residuals of nats around floor * characters have mean 0.
    let floor = embedded::floor_nats_per_char();
    let residuals: Vec<f64> = stories.iter().map(|s| s.0 - floor * s.1).collect();
    check("floor", 0.0, &residuals);
    // as documents, stories come without the blank lines between them
    let documents = Mode::Documents { separator: embedded::SEPARATOR.into() };
    let of_documents = embedded::floor(&documents).unwrap();
    let residuals: Vec<f64> = stories.iter().map(|s| s.0 - of_documents * (s.1 - 2.0)).collect();
    check("floor of documents", 0.0, &residuals);
    assert_eq!(embedded::floor(&Mode::Stream), Some(floor));
    assert_eq!(embedded::floor(&Mode::lines()), None);
}

#[test]
fn the_stories_of_a_seed_never_change() {
    // The first story and the checksum of the first release: a run must find its text again with any later one.
    let text = embedded::text(embedded::SEED, 20_000);
    assert_eq!(Text::new(text.as_str()).crc32(), STORIES_CRC32);
    assert_ne!(text, embedded::text(embedded::SEED + 1, 20_000));
}

const STORIES_CRC32: u32 = 2_294_198_668;

#[test]
fn a_longer_text_begins_with_the_shorter_and_ends_with_a_whole_story() {
    let short = embedded::text(5, 3000);
    let long = embedded::text(5, 9000);
    assert!(long.starts_with(&short));
    assert!((3000..6000).contains(&short.chars().count()));
    assert!(short.ends_with(embedded::SEPARATOR));
    assert_eq!(embedded::text(5, 0), "");
}

#[test]
fn the_separator_cuts_stories_from_each_other_and_from_nothing_else() {
    let n = 200;
    let stories = (0..n).map(|index| embedded::grammar().sample(2, index).text);
    let text: String = stories.collect();
    let mode = Mode::Documents { separator: embedded::SEPARATOR.into() };
    let options = Options { mode, ..Options::stream(4096) };
    let tokenizer = Tokenizer::chars(&text).for_documents();
    let data = Dataset::new(&Text::new(text), &tokenizer, &options).unwrap();
    assert_eq!(data.rows_per_epoch(), Some(180));
    assert_eq!(data.eval_extent(None).windows, 20);
}

#[test]
fn stories_read_well() {
    for index in 0..2000 {
        let story = embedded::grammar().sample(4, index).text;
        let body = story.strip_suffix("\n\n").unwrap();
        for wrong in ["  ", " .", " ,", "..", "{", "}", "\\", "\n", " a a ", "the a "] {
            assert!(!body.contains(wrong), "{wrong:?} in {story}");
        }
        // A sentence begins with a capital, even after a closing quotation mark.
        let ends = body.match_indices(". ").chain(body.match_indices("! "));
        for (at, _) in ends {
            let next = body[at + 2..].chars().next().unwrap();
            assert!(next.is_uppercase() || next == '"', "{next} in {story}");
        }
        assert!(body.is_ascii() && body.ends_with(['.', '!', '"']), "{story}");
    }
}
