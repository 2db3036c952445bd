//! What the targets share.

mod json;

pub use json::change_json;
