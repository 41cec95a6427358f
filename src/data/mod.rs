//! Data: text in, batches of tokens out; no GPU.
//!
//! [`corpus`] reads text (or draws it from the [`embedded`] grammar), [`tokenizer`] turns it into ids, and
//! [`dataset`] splits it and cuts [`batch`]es whose order depends on the seed alone. [`tokens`] reads files of ids instead.

pub mod batch;
pub mod corpus;
pub mod dataset;
pub mod embedded;
pub mod error;
mod extent;
mod forms;
pub mod grammar;
mod mode;
mod order;
mod packing;
pub mod shell;
mod split;
pub mod tokenize;
pub mod tokenizer;
pub mod tokens;

pub use batch::{Batch, IGNORE};
pub use corpus::{Corpus, Source, Text, read};
pub use dataset::{Dataset, Options};
pub use error::DataError;
pub use extent::{Extent, Packing};
pub use mode::Mode;
pub use tokenizer::{Decoder, Tokenizer, TokenizerSpec};
pub use tokens::{TokenSet, Tokens};
