//! The vtables of a program, by trait: which destructors may be behind a `Box<dyn Trait>`.

use std::collections::HashMap;

use crate::{
    binary::{Binary, Index},
    names,
};

/// The destructors behind each trait.
#[derive(Default)]
pub struct Vtables {
    by_trait: HashMap<String, Vec<Index>>,
}

impl Vtables {
    /// A vtable begins with the drop glue, a size and an alignment. The methods follow.
    pub fn of(binary: &Binary) -> Self {
        let mut vtables = Self::default();
        let is_glue = |function| binary.function(function).glue_of().next().is_some();
        let plain = |at| binary.pointer(at).is_none().then(|| binary.word(at)).flatten();
        for (start, end) in binary.vtable_sections() {
            let mut at = start.next_multiple_of(8);
            while at + 24 <= end {
                let glue = binary.function_pointer(at).filter(|it| is_glue(*it));
                let size = plain(at + 8).filter(|size| *size < 1 << 24);
                let align =
                    plain(at + 16).filter(|align| align.is_power_of_two() && *align <= 4096);
                let (Some(glue), Some(_), Some(_)) = (glue, size, align) else {
                    at += 8;
                    continue;
                };
                at += 24;
                // Up to the head of the next vtable.
                let mut traits = Vec::new();
                while let Some(method) = binary.function_pointer(at).filter(|it| !is_glue(*it)) {
                    traits.extend(
                        binary.function(method).names.iter().filter_map(|name| trait_of(name)),
                    );
                    at += 8;
                }
                traits.sort();
                traits.dedup();
                for of_trait in traits {
                    vtables.by_trait.entry(of_trait).or_default().push(glue);
                }
            }
        }
        for glue in vtables.by_trait.values_mut() {
            glue.sort_unstable();
            glue.dedup();
        }
        vtables
    }

    /// The destructors of what implements a trait.
    pub fn implementors(&self, of_trait: &str) -> &[Index] {
        self.by_trait.get(of_trait).map_or(&[], Vec::as_slice)
    }
}

/// Whether a `dyn Trait` is followed. Everything implements the traits of the standard library, so they say nothing.
pub fn is_followed(of_trait: &str) -> bool {
    !matches!(names::crate_of(of_trait), None | Some("core" | "alloc" | "std" | "futures_core"))
}

/// The trait of a method, without generic arguments. A closure or the future of an `async fn` has the name of the method
/// that it is in, and does not implement that trait.
fn trait_of(name: &str) -> Option<String> {
    let (_, of_trait) = names::implementation(name)?;
    let is_inside = names::is_anonymous(names::after_implementation(name)?);
    (!is_inside).then(|| names::without_generics(of_trait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_method_does_not_implement_its_trait() {
        let of_trait = Some("app::Store".to_owned());
        for method in [
            "<app::Memory as app::Store>::load",
            "<app::Memory as app::Store>::load::<u8>",
            "<app::Memory as app::Store<app::{impl#0}::Key>>::load",
            "<app::Memory as app::Store>::load::{shim:vtable#0}",
            "<app::Memory as app::Store>::load::{{vtable.shim}}",
        ] {
            assert_eq!(trait_of(method), of_trait, "{method}");
        }
        for inside in [
            "<app::Memory as app::Store>::load::{closure#0}",
            "<app::Memory as app::Store>::load::{closure#0}::{closure#1}",
            "<app::Memory as app::Store>::load::{{closure}}",
            "<app::Memory as app::Store>::load::<u8>::{closure#0}",
        ] {
            assert_eq!(trait_of(inside), None, "{inside}");
        }
    }
}
