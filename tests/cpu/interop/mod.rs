mod export;
mod gguf_file;
mod padded;
mod vocabulary;
