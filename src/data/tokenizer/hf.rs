use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use serde_json::{Value, json};
use tokenizers::tokenizer::{
    AddedToken, Model, OffsetReferential, OffsetType, PreTokenizer, Tokenizer as Inner, step_decode_stream,
};

use super::catch_panic::guarded;
use super::chunks::{chunks, cut};
use super::gpt2::{self, END_OF_TEXT_NAME};
use super::windows::{LONG_WORD, Placed, encode_long};
use super::word_cache::{Owner, encode_words};
use crate::data::DataError;

/// A tokenizer in Hugging Face's format.
#[derive(Debug)]
pub(super) struct Hf {
    /// The file's content.
    pub json: String,
    inner: Inner,
    n_id: usize,
    /// The bytes of each id if every token stands for some by itself; empty if text depends on neighbours.
    pieces: Vec<Option<Vec<u8>>>,
    /// Whether words end where [`chunks`] cuts: text is split as GPT-2 does, and nothing else looks across.
    pub cuts_at_words: bool,
    /// The ids that begin and end a document.
    pub ends: Option<(u32, u32)>,
    /// The id of the unknown token.
    pub unknown: Option<u32>,
    /// Whether the model drops what it doesn't know.
    pub drops: bool,
    owner: Owner,
    /// Finds added tokens that become their ids in a text; `None` if they can't be searched for.
    added: Option<AhoCorasick>,
}

impl PartialEq for Hf {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Hf {}

/// Names of start and end tokens; if there is only an end token, it also begins a text, as in GPT-2.
const STARTS: [&str; 5] = ["<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<start>"];
const ENDS: [&str; 6] = [END_OF_TEXT_NAME, "</s>", "<eos>", "<|end_of_text|>", "<|eot_id|>", "<end>"];

const UNFIT: &str = "its parts don't fit each other";

/// The maximum number of ids in a model.
const MAX_IDS: usize = 262_000;

impl Hf {
    pub fn from_json(json: &str) -> Result<Arc<Self>, DataError> {
        let mut value: Value = serde_json::from_str(json).map_err(|e| bad(e.to_string()))?;
        if value.get("model").is_none() {
            return Err(bad("it is in neither tril's nor Hugging Face's format".into()));
        }
        let mut json = json.to_string();
        // merges dropped at random: the same text would give different tokens each time
        if value["model"].get("dropout").is_some_and(|dropout| !dropout.is_null()) {
            value["model"]["dropout"] = Value::Null;
            json = value.to_string();
        }
        let parsed = guarded(|| Inner::from_bytes(json.as_bytes()));
        let mut inner = parsed.ok_or_else(|| bad(UNFIT.into()))?.map_err(|e| bad(e.to_string()))?;
        // texts are cut and padded elsewhere
        inner.with_truncation(None).map_err(|e| bad(e.to_string()))?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let highest = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if highest == 0 || highest > MAX_IDS {
            return Err(bad(format!("it needs a vocabulary of {highest} ids, but only 1 to {MAX_IDS} are possible")));
        }
        let specials: HashSet<u32> =
            inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        let id_of = |names: &[&str]| names.iter().find_map(|name| inner.token_to_id(name));
        let ends = id_of(&ENDS).map(|end| (id_of(&STARTS).unwrap_or(end), end));
        let by_bytes = value["decoder"]["type"] == "ByteLevel";
        let model = &value["model"];
        let by_name = || inner.token_to_id(model["unk_token"].as_str()?);
        let unknown = model["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok()).or_else(by_name);
        // bytes can encode any text, and files of such tokenizers often name the end-of-text token there
        let unknown = unknown.filter(|&id| !(by_bytes && ends.is_some_and(|(start, end)| id == start || id == end)));
        let alphabet = alphabet();
        let piece = |id: u32| {
            if specials.contains(&id) {
                return None;
            }
            let token = inner.id_to_token(id)?;
            let byte = |c| alphabet.iter().position(|&a| a == c).and_then(|byte| u8::try_from(byte).ok());
            // an added token stands for itself, and may contain characters that encode no byte
            Some(token.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.into_bytes()))
        };
        let spells_bytes = by_bytes && alphabet.iter().all(|c| inner.token_to_id(&c.to_string()).is_some());
        let can_drop = model["type"] == "BPE" && model["byte_fallback"] != json!(true);
        let drops = can_drop && unknown.is_none() && !spells_bytes;
        let pieces = if by_bytes { (0..highest as u32).map(piece).collect() } else { vec![] };
        let pre = &value["pre_tokenizer"];
        let by_words =
            pre["type"] == "ByteLevel" && pre["use_regex"] != json!(false) && pre["add_prefix_space"] == json!(false);
        // an added token may reach across a border: with a space inside, or by matching those after it
        let added = inner.get_added_tokens_decoder();
        let crosses = |token: &AddedToken| token.rstrip || cut(&token.content, 0).is_some();
        let cuts_at_words = by_words && value["normalizer"].is_null() && !added.values().any(crosses);
        let (owner, finder) = (Owner::new(), finder(&inner));
        Ok(Arc::new(Self {
            json,
            inner,
            n_id: highest,
            pieces,
            cuts_at_words,
            ends,
            unknown,
            drops,
            owner,
            added: finder,
        }))
    }

    /// Reads the contents of GPT-2's two files.
    pub fn from_vocab_and_merges(vocab: &str, merges: &str) -> Result<Arc<Self>, DataError> {
        let vocab: BTreeMap<String, u32> = serde_json::from_str(vocab).map_err(|e| bad(format!("vocab.json: {e}")))?;
        let lines = merges.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
        let pair = |(n, line): (usize, &str)| match line.split_once(' ') {
            Some((a, b)) => Ok(json!([a, b])),
            None => Err(bad(format!("line {} of merges.txt is not two tokens", n + 1))),
        };
        let merges = lines.map(pair).collect::<Result<_, _>>()?;
        let ends = vocab.get(END_OF_TEXT_NAME).map(|&id| (id, END_OF_TEXT_NAME));
        let vocab = vocab.iter().map(|(token, &id)| (token.clone(), id as usize));
        Self::from_json(&file(ends.as_slice(), by_bytes(true), bpe(merges), vocab))
    }

    /// The same tokenizer, but special tokens in a text become their ids.
    pub fn with_specials(&self) -> Arc<Self> {
        let mut inner = self.inner.clone();
        inner.set_encode_special_tokens(false);
        Arc::new(Self {
            owner: Owner::new(),
            added: finder(&inner),
            json: self.json.clone(),
            inner,
            n_id: self.n_id,
            pieces: self.pieces.clone(),
            cuts_at_words: self.cuts_at_words,
            ends: self.ends,
            unknown: self.unknown,
            drops: self.drops,
        })
    }

    pub fn vocab_size(&self) -> usize {
        self.n_id
    }

    /// Encodes a text. The crate takes some 135 bytes for each byte that it encodes, so it gets small parts.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        const CHUNK_BYTES: usize = 1 << 14;
        if !self.cuts_at_words {
            return self.encode_whole(text);
        }
        let (mut ids, mut n_char) = (vec![], 0);
        for chunk in chunks(text, CHUNK_BYTES) {
            let done = if self.added.as_ref().is_none_or(|added| added.is_match(chunk)) {
                self.encode_whole(chunk).map(|more| ids.extend(more))
            } else {
                encode_words(self.owner, &mut ids, chunk, |_| None, |word| self.encode_whole(word))
            };
            done.map_err(|error| error.further(n_char))?;
            n_char += chunk.chars().count();
        }
        Ok(ids)
    }

    /// Encodes a text that can't be cut.
    fn encode_whole(&self, text: &str) -> Result<Vec<u32>, DataError> {
        if text.len() >= LONG_WORD {
            return encode_long(text, &|window| self.encode_placed(window));
        }
        let encoded = guarded(|| self.inner.encode_fast(text, false)).and_then(Result::ok);
        Ok(encoded.ok_or_else(|| self.failed(text))?.get_ids().to_vec())
    }

    /// Encodes a part of a text into tokens with their spans.
    pub fn encode_placed(&self, text: &str) -> Result<Vec<Placed>, DataError> {
        let encoded = guarded(|| self.inner.encode(text, false)).and_then(Result::ok);
        let encoded = encoded.ok_or_else(|| self.failed(text))?;
        let places = encoded.get_ids().iter().zip(encoded.get_offsets());
        Ok(places.map(|(&id, &(start, end))| Placed { id, start, end }).collect())
    }

    /// The error for a text that can't be encoded.
    fn failed(&self, text: &str) -> DataError {
        let word = guarded(|| self.unknown_word(text)).flatten();
        word.unwrap_or_else(|| DataError::Encode { reason: UNFIT.into() })
    }

    /// Finds the first word of a text that the model refuses.
    fn unknown_word(&self, text: &str) -> Option<DataError> {
        const MAX_CHARS: usize = 40;
        let inner = &self.inner;
        let mut words = inner.get_added_vocabulary().extract_and_normalize(inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words).ok()?;
        }
        let words = words.get_splits(OffsetReferential::Original, OffsetType::Char).into_iter();
        let mut unknown = words.filter(|(word, _, known)| known.is_none() && inner.get_model().tokenize(word).is_err());
        let (word, (position, _), _) = unknown.next()?;
        Some(DataError::UnknownWord { word: word.chars().take(MAX_CHARS).collect(), position })
    }

    /// Whether each id stands for bytes by itself.
    pub fn has_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }

    pub fn piece(&self, id: usize) -> Option<&[u8]> {
        self.pieces.get(id)?.as_deref()
    }

    /// The text of each id, and the added token if it is one; `None` for a gap. An added token whose id in the file
    /// disagrees with the vocabulary is not one.
    pub fn listed(&self) -> Vec<Option<(String, Option<AddedToken>)>> {
        let mut added = self.inner.get_added_tokens_decoder();
        (0..self.n_id as u32).map(|id| Some((self.inner.id_to_token(id)?, added.remove(&id)))).collect()
    }

    /// The text of an id.
    pub fn name(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The names of the special tokens.
    pub fn special_names(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder().into_values();
        added.filter(|token| token.special && !token.content.is_empty()).map(|token| token.content).collect()
    }

    /// Adds an id to the state, and returns the text that it completes.
    pub fn step(&self, state: &mut Stream, id: u32) -> String {
        let Stream { ids, prefix, prefix_index } = state;
        match guarded(|| step_decode_stream(&self.inner, vec![id], true, ids, prefix, prefix_index)) {
            Some(Ok(text)) => text.unwrap_or_default(),
            _ => {
                *state = Stream::default();
                "\u{fffd}".into()
            }
        }
    }

    /// The text that a state holds back.
    pub fn rest(&self, state: &Stream) -> String {
        let text = guarded(|| self.inner.decode(&state.ids, true)).and_then(Result::ok).unwrap_or_default();
        text.strip_prefix(&state.prefix).unwrap_or("").into()
    }
}

/// Builds the search for added tokens, which separate words.
fn finder(inner: &Inner) -> Option<AhoCorasick> {
    let reads = |token: &AddedToken| !token.special || !inner.get_encode_special_tokens();
    let added = inner.get_added_tokens_decoder().into_values().filter(reads);
    let names: Vec<String> = added.map(|token| token.content).filter(|name| !name.is_empty()).collect();
    // the crate refuses gigabytes of names
    AhoCorasick::new(names).ok()
}

/// The state of decoding one id after another.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

/// The character that stands for each byte in GPT-2's files: itself if it is printable, otherwise one from U+0100 on.
///
/// Source: `bytes_to_unicode` of GPT-2's encoder.
pub(super) fn alphabet() -> Vec<char> {
    let is_kept = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let mut shown = |byte: u8| {
        if is_kept(byte) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    (0..=255).map(&mut shown).collect()
}

/// Writes bytes as GPT-2's files do.
pub(super) fn written(bytes: &[u8], alphabet: &[char]) -> String {
    bytes.iter().map(|&byte| alphabet[usize::from(byte)]).collect()
}

/// GPT-2's encoding as a `tokenizer.json`.
pub(super) fn gpt2_json() -> String {
    let alphabet = alphabet();
    let vocab = (0..).map_while(gpt2::piece).enumerate().map(|(id, piece)| (written(piece, &alphabet), id));
    let merges = gpt2::merges().into_iter().map(|(a, b)| json!([written(a, &alphabet), written(b, &alphabet)]));
    let end = [(gpt2::END_OF_TEXT, END_OF_TEXT_NAME)];
    file(&end, by_bytes(true), bpe(merges.collect()), vocab)
}

/// A byte tokenizer as a `tokenizer.json`, with ids from `first` on.
pub(super) fn bytes_json(first: usize, specials: &[(u32, &str)]) -> String {
    let vocab = alphabet().into_iter().enumerate().map(|(byte, c)| (c.to_string(), first + byte));
    file(specials, by_bytes(false), bpe(vec![]), vocab)
}

/// A character tokenizer as a `tokenizer.json`, with ids from `first` on. Other characters are an error, as here.
pub(super) fn chars_json(chars: &[char], first: usize, specials: &[(u32, &str)]) -> String {
    let vocab = chars.iter().enumerate().map(|(i, c)| (c.to_string(), first + i));
    let each = json!({ "type": "Split", "pattern": { "Regex": "[\\s\\S]" }, "behavior": "Isolated", "invert": false });
    let model = json!({ "type": "WordLevel", "unk_token": "<unk>" });
    let parts = json!({ "pre_tokenizer": each, "post_processor": null, "decoder": { "type": "Fuse" } });
    file(specials, parts, model, vocab)
}

fn added(id: u32, name: &str) -> Value {
    json!({
        "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
    })
}

fn bpe(merges: Vec<Value>) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "merges": merges,
    })
}

fn by_bytes(use_regex: bool) -> Value {
    let part = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex });
    json!({ "pre_tokenizer": part, "post_processor": part, "decoder": part })
}

fn file(
    specials: &[(u32, &str)],
    mut parts: Value,
    mut model: Value,
    vocab: impl Iterator<Item = (String, usize)>,
) -> String {
    // special tokens have ids only if the model's vocabulary has them, too
    let names = specials.iter().map(|&(id, name)| (name.to_string(), json!(id)));
    model["vocab"] = vocab.map(|(token, id)| (token, json!(id))).chain(names).collect::<serde_json::Map<_, _>>().into();
    parts["version"] = json!("1.0");
    parts["truncation"] = Value::Null;
    parts["padding"] = Value::Null;
    parts["normalizer"] = Value::Null;
    parts["added_tokens"] = specials.iter().map(|&(id, name)| added(id, name)).collect();
    parts["model"] = model;
    parts.to_string()
}

fn bad(reason: String) -> DataError {
    DataError::BadTokenizer { reason: reason.replace('\n', " ") }
}
