//! Tests that need no device.
#![allow(clippy::unwrap_used, missing_docs)]

mod data;
mod reference;
