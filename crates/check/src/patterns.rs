//! Whether the pattern of a branch names a variant that is not one of `Option`, from the source.
//!
//! In machine code, `if let Err(_) = &self.result` is the same as `if let Some(_) = &self.error`: both test whether a
//! number is 1. But an `Ok` is no less alive than an `Err`, and a value in one state of an enum is as alive as one in
//! another. The compiler gives such a branch the place of its pattern, so the source tells them apart.

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use proc_macro2::{LineColumn, TokenStream, TokenTree};
use syn::{
    Expr, ExprMatch, Ident, Local, Macro, Pat, Token,
    parse::{Parse as _, ParseStream, Parser as _},
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::{lines::Lines, sources};

/// The patterns of the files that were asked for.
pub struct Patterns<'a> {
    lines: &'a Lines,
    /// When the program was built, if that may have been before its sources were last changed.
    built: Option<SystemTime>,
    files: RefCell<HashMap<PathBuf, InFile>>,
}

/// By where a pattern begins, or the `let` or `match` before it, whether it, or another of the same `match`, names such a
/// variant. The compiler names one or the other of these places.
type InFile = HashMap<(usize, usize), bool>;

impl<'a> Patterns<'a> {
    pub fn of(lines: &'a Lines, built: Option<SystemTime>) -> Self {
        Self { lines, built, files: RefCell::default() }
    }

    /// Whether a branch asks for a variant that is not one of `Option`. `false` if the source does not show it.
    pub fn asks_for_variant(&self, branch: u64) -> bool {
        let Some(position) = self.lines.position(branch) else { return false };
        let mut files = self.files.borrow_mut();
        let in_file = match files.get(&position.file) {
            Some(known) => known,
            None => files.entry(position.file.clone()).or_insert_with(|| self.read(&position.file)),
        };
        in_file.get(&(position.line, position.column)).copied().unwrap_or(false)
    }

    fn read(&self, file: &Path) -> InFile {
        sources::unchanged(file, self.built).map_or_else(InFile::new, |file| in_file(&file))
    }
}

fn in_file(file: &syn::File) -> InFile {
    let mut seen = Seen(InFile::new());
    seen.visit_file(file);
    seen.0
}

struct Seen(InFile);

impl Seen {
    fn add(&mut self, start: LineColumn, names_variant: bool) {
        // An editor counts columns from 1.
        *self.0.entry((start.line, start.column + 1)).or_default() |= names_variant;
    }
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_expr_match(&mut self, it: &'ast ExprMatch) {
        let names_variant = it.arms.iter().any(|arm| names_variant(&arm.pat));
        self.add(it.match_token.span.start(), names_variant);
        for arm in &it.arms {
            self.add(arm.pat.span().start(), names_variant);
        }
        visit::visit_expr_match(self, it);
    }

    /// `if let` and `while let`.
    fn visit_expr_let(&mut self, it: &'ast syn::ExprLet) {
        self.add(it.let_token.span.start(), names_variant(&it.pat));
        self.add(it.pat.span().start(), names_variant(&it.pat));
        visit::visit_expr_let(self, it);
    }

    fn visit_local(&mut self, it: &'ast Local) {
        // `let … else`. A `let` without it asks nothing.
        if it.init.as_ref().is_some_and(|init| init.diverge.is_some()) {
            self.add(it.let_token.span.start(), names_variant(&it.pat));
            self.add(it.pat.span().start(), names_variant(&it.pat));
        }
        visit::visit_local(self, it);
    }

    fn visit_macro(&mut self, it: &'ast Macro) {
        self.see_matches(it);
        self.see_tokens(&it.tokens);
        visit::visit_macro(self, it);
    }
}

impl Seen {
    /// What comes from this macro has the place of its call.
    fn see_matches(&mut self, it: &Macro) {
        let parse = |input: ParseStream<'_>| {
            input.parse::<Expr>()?;
            input.parse::<Token![,]>()?;
            first(Pat::parse_multi_with_leading_vert)(input)
        };
        if it.path.segments.last().is_some_and(|name| name.ident == "matches")
            && let Ok(pattern) = parse.parse2(it.tokens.clone())
        {
            self.add(it.path.span().start(), names_variant(&pattern));
        }
    }

    /// What another macro gets may be code, which has its own place.
    fn see_tokens(&mut self, tokens: &TokenStream) {
        let mut rest = tokens.clone().into_iter();
        loop {
            let from_here = rest.clone();
            let Some(token) = rest.next() else { return };
            match token {
                TokenTree::Group(group) => self.see_tokens(&group.stream()),
                TokenTree::Ident(word) if word == "let" => {
                    let parse = first(Pat::parse_multi_with_leading_vert);
                    if let Ok(pattern) = parse.parse2(rest.clone().collect()) {
                        self.add(word.span().start(), names_variant(&pattern));
                        self.add(pattern.span().start(), names_variant(&pattern));
                    }
                }
                TokenTree::Ident(word) if word == "match" => {
                    if let Ok(it) = first(ExprMatch::parse).parse2(from_here.collect()) {
                        self.visit_expr_match(&it);
                    }
                }
                TokenTree::Ident(word) if word == "matches" => {
                    if let Ok(it) = first(Macro::parse).parse2(from_here.collect()) {
                        self.see_matches(&it);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

/// Parses something that more tokens follow.
fn first<T>(
    parse: impl Fn(ParseStream<'_>) -> syn::Result<T>,
) -> impl Fn(ParseStream<'_>) -> syn::Result<T> {
    move |input| {
        let parsed = parse(input)?;
        input.parse::<TokenStream>()?;
        Ok(parsed)
    }
}

/// Whether a pattern names a variant of `Result`, or one by the name of its enum, or is one that was imported.
fn names_variant(pattern: &Pat) -> bool {
    let mut names = Names(false);
    names.visit_pat(pattern);
    names.0 || is_imported(pattern)
}

/// Whether a pattern begins with the name of an imported variant. It stands where the compiler accepts only a pattern that may not
/// match.
fn is_imported(pattern: &Pat) -> bool {
    let is_variant = |name: &Ident| {
        let name = name.to_string();
        name.starts_with(char::is_uppercase) && !matches!(&*name, "Some" | "None")
    };
    match pattern {
        Pat::Or(it) => it.cases.iter().any(is_imported),
        Pat::Paren(it) => is_imported(&it.pat),
        Pat::Reference(it) => is_imported(&it.pat),
        Pat::Ident(it) => match &it.subpat {
            Some((_, pattern)) => is_imported(pattern),
            None => is_variant(&it.ident),
        },
        Pat::TupleStruct(it) => {
            let is_plain = |it: &Pat| matches!(it, Pat::Ident(_) | Pat::Wild(_) | Pat::Rest(_));
            it.elems.iter().all(is_plain) && it.path.get_ident().is_some_and(is_variant)
        }
        _ => false,
    }
}

struct Names(bool);

impl<'ast> Visit<'ast> for Names {
    fn visit_path(&mut self, it: &'ast syn::Path) {
        let mut names = it.segments.iter().rev().map(|segment| segment.ident.to_string());
        let (name, of) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        // A module has a small initial, as a struct in it is named by `module::Struct`.
        let is_of_enum = of.starts_with(char::is_uppercase) && of != "Option";
        self.0 |= is_of_enum || matches!(&*name, "Ok" | "Err");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The lines with a pattern, and whether it names a variant.
    fn seen(body: &str) -> Vec<(usize, bool)> {
        let file = syn::parse_file(&format!("fn drop() {{\n{body}\n}}")).expect("a file");
        let seen = in_file(&file).into_iter().map(|((line, _), it)| (line, it));
        seen.collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn a_variant_is_known_by_its_enum() {
        for body in [
            "if let Err(_) = &self.result {}",
            "while let Ok(_) = self.rows.try_recv() {}",
            "let Phase::Open(_) = self.phase else { return };",
            "if let Some(Err(_)) = self.thread.take().map(|it| it.join()) {}",
            "if matches!(self.phase, Phase::Open(it) | Phase::Closed(it) if it > 0) {}",
            "if let Self { phase: Phase::Open(_) } = self {}",
            "if let Open(_) = self.phase {}",
            "if let &(Closed | Open(..)) = &self.phase {}",
        ] {
            assert_eq!(seen(body), [(2, true)], "{body}");
        }
        for body in [
            "if let Some(_) = &self.rows {}",
            "let Option::Some(it) = self.rows.take() else { return };",
            "if let Some(rows::Row { id, .. }) = &self.row {}",
            "if let Some(Row(id)) = &self.row {}",
            "if let Row(Some(id)) = &self.row {}",
            "if matches!(self.rows, Some(_)) {}",
        ] {
            assert_eq!(seen(body), [(2, false)], "{body}");
        }
    }

    #[test]
    fn code_in_a_macro_is_read_as_far_as_it_is_code() {
        let body = "destructor!(Last, |this| {\nif let Err(_) = &this.0 {}\nmatch this.1 {\nOk(_) => {} _ => {}\n}\n\
                    matches!(this.2, None) });";
        assert_eq!(seen(body), [(3, true), (4, true), (5, true), (7, false)]);
    }

    #[test]
    fn one_arm_says_what_is_matched() {
        let body = "match &self.last {\nNone => {}\nSome(Err(_)) => {}\n_ => {}\n}";
        assert_eq!(seen(body), [(2, true), (3, true), (4, true), (5, true)]);
        let body =
            "match &self.last {\nNone => match self.it { Err(_) => {} _ => {} }\nSome(_) => {}\n}";
        assert_eq!(seen(body), [(2, false), (3, false), (3, true), (4, false)]);
    }
}
