//! Renders the stable part of a result as text, for comparison with the committed snapshot.

use std::fmt::Write as _;

use crate::results::{ExperimentResult, VariantResult};

/// Renders the stable part of a result: the verdicts, and the role, name, class and panic sites of each
/// variant. One line each, so that a difference is readable.
///
/// ```text
/// hypothesis  supported
/// claim A2    refuted
///
/// hazard   old/outside-alive  always aborted  at deadpool-runtime-0.1.4/src/lib.rs:101:22
/// control  old/inside-alive   always clean
/// ```
#[must_use]
pub fn render(result: &ExperimentResult) -> String {
    let mut text = format!("hypothesis  {}\n", result.verdict);
    for claim in &result.claims {
        let label = format!("claim {}", claim.id);
        let _ = writeln!(text, "{label:<12}{}", claim.verdict);
    }
    text.push('\n');
    let width = |of: fn(&VariantResult) -> &str| {
        result.variants.iter().map(|variant| of(variant).len()).max().unwrap_or(0)
    };
    let (names, classes) = (width(|v| &v.name), width(|v| &v.class));
    for variant in &result.variants {
        let role = variant.role;
        let mut line = format!("{role:<8} {:<names$}  {:<classes$}", variant.name, variant.class);
        if !variant.sites.is_empty() {
            let _ = write!(line, "  at {}", variant.sites.join(", "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
