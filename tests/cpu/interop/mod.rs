mod command;
mod documents;
pub mod export;
mod gguf_file;
mod padded;
mod round_trip;
mod vocabulary;
