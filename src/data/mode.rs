use serde::{Deserialize, Serialize};

/// What a row of a batch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mode {
    /// A window of one long text.
    Stream,
    /// Documents, or pieces of one longer than a block: one, or several where they are packed.
    Documents {
        /// What stands between two documents: a line break, or any other text. Line breaks at either end of a
        /// document are dropped, and so are documents of nothing but white space.
        separator: String,
    },
}

impl Mode {
    /// One document a line.
    pub fn lines() -> Mode {
        Mode::Documents { separator: "\n".into() }
    }
}
