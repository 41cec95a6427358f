mod export;
mod gguf_file;
mod vocabulary;
