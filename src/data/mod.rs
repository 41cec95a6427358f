//! Data: text in, batches of tokens out; no GPU.
//!
//! [`corpus`] says where [`text`] comes from: files, or the [`embedded`] grammar; [`tokenizer`] turns it into ids piece
//! by piece, and [`dataset`] splits it and cuts [`batch`]es whose order depends on the seed alone. [`tokens`] reads
//! files of ids instead.

pub mod batch;
pub mod corpus;
pub mod dataset;
mod decode;
pub mod embedded;
mod encode;
mod encoding;
pub mod error;
mod findings;
mod folder;
pub mod grammar;
pub mod loading;
mod mode;
mod names;
mod options;
mod packing;
mod permutation;
pub mod pickle;
mod prepared;
mod split;
mod stats;
pub mod text;
pub mod tokenize;
pub mod tokenizer;
pub mod tokens;

pub use batch::{Batch, IGNORE};
pub use corpus::{Corpus, Source};
pub use dataset::Dataset;
pub use error::DataError;
pub use findings::{Findings, Lost};
pub use loading::Loading;
pub use mode::Mode;
pub use options::Options;
pub use stats::{Extent, Packing};
pub use text::{Text, read};
pub use tokenizer::{Decoder, Tokenizer, TokenizerSpec};
pub use tokens::{TokenSet, Tokens};
