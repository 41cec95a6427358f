//! Text, tokens, batches and the embedded stories.

mod corpus;
mod dataset;
mod grammar;
mod stories;
mod tokenize;
mod tokenizer;
mod tokens;
