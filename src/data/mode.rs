use serde::{Deserialize, Serialize};

/// What a row of a batch holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "RawMode")]
pub enum Mode {
    /// A window of one long text.
    Stream,
    /// One document per row, or a piece of one longer than a block; several with packing.
    Documents {
        /// The separator between documents: a line break, or any other text. Line breaks at either end of a
        /// document are dropped, and so are documents of only white space.
        separator: String,
    },
}

/// The keys of all kinds of [`Mode`]. Serde's own tagged enums don't report the key of an error; this does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMode {
    kind: Kind,
    separator: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Stream,
    Documents,
}

impl TryFrom<RawMode> for Mode {
    type Error = &'static str;

    fn try_from(written: RawMode) -> Result<Self, Self::Error> {
        match (written.kind, written.separator) {
            (Kind::Stream, None) => Ok(Mode::Stream),
            (Kind::Documents, Some(separator)) => Ok(Mode::Documents { separator }),
            _ => Err("these keys don't belong to this kind: \"documents\" has a separator, \"stream\" has none"),
        }
    }
}

impl Mode {
    /// One document per line.
    pub fn lines() -> Mode {
        Mode::Documents { separator: "\n".into() }
    }
}
