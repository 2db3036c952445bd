//! What every experiment must declare, for those of this package.

#[path = "../../tests/declarations.rs"]
mod declarations;
