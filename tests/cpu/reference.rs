//! The CPU reference against goldens and finite differences.
