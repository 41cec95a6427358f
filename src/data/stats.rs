/// How documents fill the rows of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
    /// Documents in the training split.
    pub documents: u64,
    /// Rows of an epoch.
    pub rows: u64,
    /// The share of all positions that hold no token, 0 <= f < 1.
    pub padding: f64,
}

/// How much an evaluation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows that hold at least one target.
    pub windows: u64,
    /// Targets, each a prediction.
    pub targets: u64,
    /// Units: bytes of UTF-8 that the targets stand for; `<end>` stands for none.
    pub bytes: u64,
}

impl Extent {
    /// Converts a mean loss per target (nats) of this evaluation to bits per byte of text; `None` if there is no text.
    pub fn bits_per_byte(&self, loss_nats: f64) -> Option<f64> {
        if self.bytes == 0 {
            return None;
        }
        // both counts are far below 2^53
        Some(loss_nats / std::f64::consts::LN_2 * self.targets as f64 / self.bytes as f64)
    }
}
