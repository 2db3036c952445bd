//! Empty: this package only pins versions. See `crates/check/tests/it/public.rs`.
