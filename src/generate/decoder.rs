use std::collections::BTreeMap;

use super::{MIN_CONTEXT, SamplerConfig};
use crate::exec::{ExecError, Program};
use crate::graph::Phase;
use crate::kernel::Caps;
use crate::model::{CachedGpt, CachedIo, ModelConfig};
use crate::ops::{Sample, cache_shape};
use crate::plan::Plan;
use crate::tensor::DType;

/// The maximum number of rows in a batch: beyond this a row hardly gets cheaper.
const MAX_ROWS: u64 = 64;

/// Generates text for several rows at once with the parameters of another program, on the device from one token to the
/// next.
///
/// A prompt is one forward pass, whose keys and values stay in a cache. Then each token costs one pass over a single
/// position of each row. The device samples, and feeds what it sampled, so several tokens follow each other without
/// waiting; they are read in chunks.
///
/// Positions are absolute, so once a row has filled the block, sliding its window would make every cached key and value
/// stale. Instead the row's last `block_size / 2` tokens become a new prompt, in one forward pass, from position 0:
/// from then on it sees between half a block and a whole one, with one such pass per `block_size / 2` tokens.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    sampling: SamplerConfig,
    /// The words of [`Sample::forbidden`].
    forbidden: Vec<u32>,
    decode: (Program, CachedIo),
    /// Programs by prompt length.
    prefills: BTreeMap<u64, (Program, CachedIo)>,
    rows: Vec<Row>,
    n_row: usize,
    /// Tokens to submit before the next ones are read.
    chunk: usize,
    /// The prompt length of the program that ran last, `None` for a single position: it has the newest logits.
    latest: Option<u64>,
}

/// The state of a row.
#[derive(Debug)]
struct Row {
    /// Prompt and text, as far as it was read.
    tokens: Vec<u32>,
    /// Positions in the cache.
    length: u64,
    /// Tokens sampled on the device.
    drawn: usize,
    /// Tokens read.
    read: usize,
    stream: u32,
}

impl Row {
    /// The newest token, the length and so on, for the device.
    fn cursor(&self) -> [u32; 4] {
        let word = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        [self.tokens.last().copied().unwrap_or(0), word(self.length), word(self.drawn as u64), self.stream]
    }
}

impl Decoder {
    /// The id returned if the model gives no finite logit: its weights have diverged or are damaged.
    pub const NO_TOKEN: u32 = Sample::NONE;

    /// Creates a decoder of `n_row` rows.
    ///
    /// # Errors
    ///
    /// A device error, or a plan that doesn't fit.
    pub fn new(
        source: &Program,
        config: &ModelConfig,
        n_row: usize,
        sampling: SamplerConfig,
    ) -> Result<Self, ExecError> {
        let n_row = n_row.max(1);
        let gpt = CachedGpt::decode(config, n_row as u64)?;
        let program = Program::sharing(source, Plan::new(gpt.graph, source.gpu().caps(), &source.plan().choice)?)?;
        Ok(Self {
            config: config.clone(),
            sampling,
            forbidden: Sample::forbidden(config.vocab_size, |_| false),
            decode: (program, gpt.io),
            prefills: BTreeMap::new(),
            rows: vec![],
            n_row,
            chunk: 1,
            latest: None,
        })
    }

    /// How many of `wanted` texts one decoder should generate at once: as many as fit a layer's cache in one binding.
    pub fn rows_for(config: &ModelConfig, caps: &Caps, wanted: u64) -> usize {
        let row = cache_shape(1, config.n_head, config.block_size, config.n_embd).numel() * DType::F32.bytes();
        let fitting = (caps.max_binding_bytes / row.max(1)).clamp(1, MAX_ROWS);
        usize::try_from(wanted.clamp(1, fitting)).unwrap_or(1)
    }

    /// The rows that it generates at once.
    pub fn n_row(&self) -> usize {
        self.n_row
    }

    /// Whether it uses the parameters of that program.
    pub fn shares_params(&self, source: &Program) -> bool {
        self.decode.0.shares_params(source)
    }

    /// Changes how tokens are chosen, from the next [`Decoder::start`] on.
    pub fn set_sampling(&mut self, sampling: SamplerConfig) {
        self.sampling = sampling;
    }

    /// Never samples some tokens, from the next [`Decoder::start`] on: those that a tokenizer lacks, say, as many
    /// models pad their vocabulary.
    pub fn forbid(&mut self, is_forbidden: impl Fn(u32) -> bool) {
        self.forbidden = Sample::forbidden(self.config.vocab_size, is_forbidden);
    }

    /// Begins a text for each prompt, the i-th with random stream `first_stream + i`, and samples its first token. Of a
    /// prompt longer than the block, only the last `block_size` tokens count.
    ///
    /// # Errors
    ///
    /// A token outside the vocabulary, or a device error.
    ///
    /// # Panics
    ///
    /// On an empty prompt, or more prompts than rows.
    pub fn start(&mut self, prompts: &[&[u32]], first_stream: u32) -> Result<(), ExecError> {
        assert!(
            prompts.len() <= self.n_row && prompts.iter().all(|p| !p.is_empty()),
            "one to {} prompts, none of them empty",
            self.n_row
        );
        let vocab_size = self.config.vocab_size;
        if let Some(&id) = prompts.iter().flat_map(|p| p.iter()).find(|&&id| u64::from(id) >= vocab_size) {
            return Err(ExecError::Token { id, vocab_size });
        }
        let row = |(prompt, i): (&&[u32], u32)| Row {
            tokens: prompt.to_vec(),
            length: 0,
            drawn: 0,
            read: 0,
            stream: first_stream.wrapping_add(i),
        };
        self.rows = prompts.iter().zip(0..).map(row).collect();
        self.chunk = 1;
        let SamplerConfig { temperature, top_k, top_p, seed } = self.sampling;
        let (program, io) = &self.decode;
        let settings = [&Sample::settings(temperature, top_k, top_p, seed)[..], &self.forbidden].concat();
        program.write_u32(io.settings, &settings)?;
        let mut fed = vec![0; self.n_row];
        fed[..self.rows.len()].fill(1);
        program.write_u32(io.fed, &fed)?;
        let block = self.block();
        let given: Vec<usize> = self.rows.iter().map(|row| row.tokens.len().min(block)).collect();
        self.prefill(&given)
    }

    /// Returns the next tokens of each row, at least one and at most `most`: few at first, so that a text begins at
    /// once, then more, so that the device seldom waits. If the window slid for some rows only, those get more than the
    /// others.
    ///
    /// # Errors
    ///
    /// A device error.
    pub fn next(&mut self, most: usize) -> Result<Vec<Vec<u32>>, ExecError> {
        let block = self.config.block_size;
        let most = most.clamp(1, self.chunk);
        self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        let unread = |rows: &[Row]| rows.iter().map(|row| row.drawn - row.read).max().unwrap_or(0);
        while unread(&self.rows) < most {
            if self.rows.iter().any(|row| row.length >= block) {
                if unread(&self.rows) > 0 {
                    break;
                }
                self.slide()?;
                continue;
            }
            self.decode.0.run(Phase::MicroBatch)?;
            self.latest = None;
            for row in &mut self.rows {
                row.length += 1;
                row.drawn += 1;
            }
        }
        self.read()
    }

    /// The logits (V) that gave the newest token of each row, after [`Decoder::start`]; rows that a sliding window left
    /// alone have none.
    ///
    /// # Errors
    ///
    /// A device error.
    pub fn logits(&self) -> Result<Vec<Vec<f32>>, ExecError> {
        let (program, io) = self.latest.and_then(|t| self.prefills.get(&t)).unwrap_or(&self.decode);
        let vocab = usize::try_from(self.config.vocab_size).unwrap_or(usize::MAX);
        Ok(program.read(io.logits)?.chunks(vocab).take(self.rows.len()).map(<[f32]>::to_vec).collect())
    }

    fn block(&self) -> usize {
        usize::try_from(self.config.block_size).unwrap_or(usize::MAX)
    }

    /// Recomputes the second half of each full block from position 0.
    fn slide(&mut self) -> Result<(), ExecError> {
        let block = self.config.block_size;
        let keep = (self.block() / 2).max(1);
        let given: Vec<usize> = self.rows.iter().map(|row| if row.length >= block { keep } else { 0 }).collect();
        self.prefill(&given)
    }

    /// Runs the last `given` tokens of each row from position 0 on, if that isn't 0, and samples the token after them.
    /// All tokens sampled so far must have been read.
    fn prefill(&mut self, given: &[usize]) -> Result<(), ExecError> {
        let longest = given.iter().copied().max().unwrap_or(1) as u64;
        let t = longest.next_power_of_two().max(MIN_CONTEXT).min(self.config.block_size);
        let n_row = self.n_row;
        if !self.prefills.contains_key(&t) {
            let gpt = CachedGpt::prefill(&self.config, n_row as u64, t)?;
            let (decode, _) = &self.decode;
            let plan = Plan::new(gpt.graph, decode.gpu().caps(), &decode.plan().choice)?;
            self.prefills.insert(t, (Program::sharing(decode, plan)?, gpt.io));
        }
        let (program, io) = &self.prefills[&t];
        let width = usize::try_from(t).unwrap_or(usize::MAX);
        let mut tokens = vec![0; n_row * width];
        let (mut last, mut fed, mut cursor) = (vec![0; n_row], vec![0; n_row], vec![0; 4 * n_row]);
        for (i, (row, &n)) in self.rows.iter_mut().zip(given).enumerate() {
            if n > 0 {
                // what follows the last token is never seen: the mask is causal
                tokens[i * width..i * width + n].copy_from_slice(&row.tokens[row.tokens.len() - n..]);
                // `NO_TOKEN` has no embedding; any other id does for the prompt
                tokens[i * width..i * width + n].iter_mut().filter(|t| **t == Self::NO_TOKEN).for_each(|t| *t = 0);
                last[i] = u32::try_from(i * width + n - 1).unwrap_or(u32::MAX);
                fed[i] = u32::try_from(n).unwrap_or(u32::MAX);
                row.length = 0;
            }
            cursor[4 * i..4 * i + 4].copy_from_slice(&row.cursor());
            if n > 0 {
                row.length = n as u64;
                row.drawn += 1;
            }
        }
        if let Some([prompt, rows]) = io.prompt {
            program.write_u32(prompt, &tokens)?;
            program.write_u32(rows, &last)?;
        }
        program.write_u32(io.fed, &fed)?;
        program.write_u32(io.cursor, &cursor)?;
        program.run(Phase::MicroBatch)?;
        self.latest = Some(t);
        Ok(())
    }

    /// Waits for the tokens sampled so far.
    fn read(&mut self) -> Result<Vec<Vec<u32>>, ExecError> {
        let (program, io) = &self.decode;
        let text = program.read_u32(io.text)?;
        let width = text.len() / self.n_row;
        let new = |(row, ring): (&mut Row, &[u32])| {
            let tokens: Vec<u32> = (row.read..row.drawn).map(|n| ring[n % width]).collect();
            row.tokens.extend(&tokens);
            row.read = row.drawn;
            tokens
        };
        Ok(self.rows.iter_mut().zip(text.chunks(width)).map(new).collect())
    }
}

/// The maximum number of tokens submitted before they are read; fewer than the device keeps.
const MAX_CHUNK: usize = 16;
