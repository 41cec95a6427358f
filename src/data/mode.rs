use serde::{Deserialize, Serialize};

/// What a row of a batch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "RawMode")]
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

/// The keys of all kinds of [`Mode`]: read so, an error knows its key, which serde's own reading of tagged decode forgets.
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
            _ => Err("its keys don't go with its kind: \"documents\" has a separator, \"stream\" has none"),
        }
    }
}

impl Mode {
    /// One document a line.
    pub fn lines() -> Mode {
        Mode::Documents { separator: "\n".into() }
    }
}
