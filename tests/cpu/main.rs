//! Tests that need no device.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod claim;
mod compare;
mod config;
mod data;
mod emit;
mod import;
mod interop;
mod malformed_files;
mod pace;
mod pages;
mod plan;
mod reference;
mod speed;
mod tidy;
mod unchanged;
mod variants;
