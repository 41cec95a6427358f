//! The `tril` command.

fn main() {}
