//! Data: text in, batches of tokens out; no GPU.
//!
//! [`corpus`] reads text (or draws it from the [`embedded`] grammar), [`tokenizer`] turns it into ids, and
//! [`dataset`] splits it and cuts [`batch`]es whose order depends on the seed alone.

pub mod batch;
pub mod corpus;
pub mod dataset;
pub mod embedded;
pub mod error;
mod forms;
pub mod grammar;
mod order;
mod packing;
pub mod tokenizer;

pub use batch::{Batch, IGNORE};
pub use corpus::{Source, Text, read};
pub use dataset::{Dataset, Extent, Mode, Options, Packing};
pub use error::DataError;
pub use tokenizer::{Decoder, Tokenizer, TokenizerSpec};
