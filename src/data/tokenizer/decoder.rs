use super::hf::Stream;
use super::{Token, Tokenizer};

/// Decodes ids one at a time; holds back the bytes of an incomplete character.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    held: Vec<u8>,
    /// For a tokenizer whose ids have no text of their own.
    stream: Stream,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, held: Vec::new(), stream: Stream::default() }
    }

    /// Returns the text that an id completes; often one character, sometimes none.
    pub fn push(&mut self, id: u32) -> String {
        if let Some(hf) = self.tokenizer.stream_of() {
            return hf.step(&mut self.stream, id);
        }
        match self.tokenizer.token(id) {
            Token::Piece(bytes) => {
                self.held.extend_from_slice(bytes);
                self.take(Incomplete::Hold)
            }
            Token::Byte(byte) => {
                self.held.push(byte);
                self.take(Incomplete::Hold)
            }
            Token::Char(c) => c.to_string(),
            Token::Special => self.take(Incomplete::Replace),
            Token::Unknown => self.take(Incomplete::Replace) + "\u{fffd}",
        }
    }

    /// Returns the remaining text: U+FFFD if a character was never completed.
    pub fn finish(mut self) -> String {
        if let Some(hf) = self.tokenizer.stream_of() {
            return hf.rest(&self.stream);
        }
        self.take(Incomplete::Replace)
    }

    fn take(&mut self, incomplete: Incomplete) -> String {
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let rest = &self.held[done..];
            let open = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
            if open && incomplete == Incomplete::Hold {
                break;
            }
            if !chunk.invalid().is_empty() {
                text.push('\u{fffd}');
            }
            done += chunk.invalid().len();
        }
        self.held.drain(..done);
        text
    }
}

/// What to do with a character whose last bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Incomplete {
    Hold,
    Replace,
}
