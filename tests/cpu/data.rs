//! Data: corpora, tokenizers, batches.
