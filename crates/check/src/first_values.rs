//! Flags that have their first value whenever a destructor begins, from the source.
//!
//! `if !self.dropped { self.dropped = true; … }` keeps a destructor from doing its work twice. The flag of a live
//! value is `false` there. The machine code does not show that, because the flag might be set elsewhere. The source of
//! the package does, because nothing else can name a private field:
//!
//! - The branch is an `if self.flag` or `if !self.flag`, and the destructor does not mention the flag before.
//! - The type is a struct, and the flag is a private field of the type `bool`.
//! - Every struct literal gives such a field the same value. If `Default` is derived, that is `false`.
//! - Only the destructor changes such a field, and only the one of its own value.
//!
//! Fields are told apart by their names alone, so a field of another type with this name counts as well. Whatever is
//! not understood counts as a change. So a flag may be overlooked, but is not taken for one of these by mistake, unless
//! it is changed without its name: by unsafe code, or in a value that a destructor moves out of itself and keeps alive.

use std::{collections::BTreeSet, mem, time::SystemTime};

use proc_macro2::{LineColumn, Span, TokenStream, TokenTree};
use syn::{
    BinOp, Block, Expr, ExprField, ExprUnary, Field, Fields, Ident, ImplItem, ItemImpl, ItemStruct,
    Lit, Member, Meta, Token, Type, UnOp, Visibility,
    punctuated::Punctuated,
    visit::{self, Visit},
};

use crate::{
    lines::{Lines, Position},
    sources::Sources,
};

/// What the sources of a program show of the flags that its destructors ask.
pub struct FirstValues<'a> {
    lines: &'a Lines,
    sources: Sources,
}

impl<'a> FirstValues<'a> {
    pub fn of(lines: &'a Lines, built: Option<SystemTime>) -> Self {
        Self { lines, sources: Sources::built_at(built) }
    }

    /// The value that a branch of a destructor always finds in the flag that it asks, if that is shown.
    pub fn at(&self, branch: u64) -> Option<bool> {
        let position = self.lines.position(branch)?;
        let package = self.sources.package_of(&position.file)?;
        let flag = Flag::asked_at(&position, package.file(&position.file)?)?;
        flag.first_value(&package.files_with(&flag.field)?)
    }
}

/// A field of a type, both without their modules.
struct Flag {
    of_type: String,
    field: String,
}

impl Flag {
    /// The flag that a destructor asks here, if it has not touched it before.
    fn asked_at(position: &Position, file: &syn::File) -> Option<Self> {
        let mut asked = Asked { position, flag: None };
        asked.visit_file(file);
        asked.flag
    }

    /// The value that it has in every value of its type, until the destructor changes it.
    fn first_value(&self, files: &[&syn::File]) -> Option<bool> {
        let mut uses = Uses {
            flag: self,
            is_in_destructor: false,
            is_defined: false,
            is_changed: false,
            is_projected: false,
            is_read: false,
            values: BTreeSet::new(),
        };
        for file in files {
            uses.visit_file(file);
        }
        // A projection of `pin-project` has references in the place of the fields. They change what they refer to.
        let is_changed = uses.is_changed || (uses.is_projected && uses.is_read);
        let mut values = uses.values.into_iter();
        match (values.next(), values.next()) {
            (value, None) if uses.is_defined && !is_changed => value,
            _ => None,
        }
    }

    fn is(&self, member: &Member) -> bool {
        matches!(member, Member::Named(field) if *field == self.field)
    }

    /// Whether this is `self.flag`.
    fn is_own(&self, place: &Expr) -> bool {
        own_field(place).is_some_and(|(_, field)| *field == self.field)
    }

    /// Whether a place is the flag of any value, or behind it.
    fn is_in(&self, place: &Expr) -> bool {
        match place {
            Expr::Field(it) => self.is(&it.member) || self.is_in(&it.base),
            Expr::Paren(it) => self.is_in(&it.expr),
            Expr::Unary(ExprUnary { op: UnOp::Deref(_), expr, .. }) => self.is_in(expr),
            _ => false,
        }
    }
}

/// Of `self.field`: both words.
fn own_field(place: &Expr) -> Option<(&Ident, &Ident)> {
    let Expr::Field(ExprField { base, member: Member::Named(field), .. }) = place else {
        return None;
    };
    let Expr::Path(base) = &**base else { return None };
    let this = base.path.get_ident()?;
    (this == "self").then_some((this, field))
}

/// The type that this is the destructor of, and what it does.
fn destructor(it: &ItemImpl) -> Option<(&Ident, &Block)> {
    let (of_trait, _) = it.trait_.as_ref()?;
    let of_trait = &of_trait.segments.last()?.ident;
    if of_trait != "Drop" && of_trait != "PinnedDrop" {
        return None;
    }
    let Type::Path(of_type) = &*it.self_ty else { return None };
    let of_type = &of_type.path.segments.last()?.ident;
    let [ImplItem::Fn(drop)] = &it.items[..] else { return None };
    Some((of_type, &drop.block))
}

/// Looks for the destructor, and in it for the branch.
struct Asked<'a> {
    position: &'a Position,
    flag: Option<Flag>,
}

impl<'ast> Visit<'ast> for Asked<'_> {
    fn visit_item_impl(&mut self, it: &'ast ItemImpl) {
        if let Some((of_type, block)) = destructor(it) {
            let mut branches = Branches { position: self.position, asked: None };
            branches.visit_block(block);
            let asked = branches.asked.filter(|field| is_first_mention(field, block));
            let flag =
                asked.map(|field| Flag { of_type: of_type.to_string(), field: field.to_string() });
            self.flag = flag.or(self.flag.take());
        }
        visit::visit_item_impl(self, it);
    }
}

/// Looks for the branch in a destructor. A loop may come to it a second time, and a function in it is another one.
struct Branches<'a, 'ast> {
    position: &'a Position,
    asked: Option<&'ast Ident>,
}

impl<'ast> Visit<'ast> for Branches<'_, 'ast> {
    fn visit_expr_if(&mut self, it: &'ast syn::ExprIf) {
        let (not, place) = match &*it.cond {
            Expr::Unary(ExprUnary { op: UnOp::Not(not), expr, .. }) => {
                (Some(not.spans[0]), &**expr)
            }
            place => (None, place),
        };
        if let Some((this, field)) = own_field(place) {
            let mut starts = not.into_iter().chain([this.span()]);
            if starts.any(|start| self.position.is_start_of(start)) {
                self.asked = Some(field);
            }
        }
        visit::visit_expr_if(self, it);
    }

    fn visit_expr_loop(&mut self, _: &'ast syn::ExprLoop) {}
    fn visit_expr_while(&mut self, _: &'ast syn::ExprWhile) {}
    fn visit_expr_for_loop(&mut self, _: &'ast syn::ExprForLoop) {}
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    fn visit_expr_async(&mut self, _: &'ast syn::ExprAsync) {}
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

impl Position {
    fn is_start_of(&self, span: Span) -> bool {
        let start = span.start();
        (start.line, start.column + 1) == (self.line, self.column)
    }
}

/// Whether nothing before this in a block has its name.
fn is_first_mention(field: &Ident, block: &Block) -> bool {
    let word = field.to_string();
    let mut mentions = Mentions { word: &word, first: None };
    mentions.visit_block(block);
    mentions.first == Some(field.span().start())
}

/// Looks for a word, also in what is passed to macros.
struct Mentions<'a> {
    word: &'a str,
    first: Option<LineColumn>,
}

impl Mentions<'_> {
    fn see(&mut self, name: &Ident) {
        if name == self.word {
            let at = name.span().start();
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
        }
    }

    fn see_tokens(&mut self, tokens: &TokenStream) {
        for token in tokens.clone() {
            match token {
                TokenTree::Ident(name) => self.see(&name),
                TokenTree::Group(group) => self.see_tokens(&group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_ident(&mut self, name: &'ast Ident) {
        self.see(name);
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.see_tokens(tokens);
    }
}

/// What the code of a package does with a field of this name.
struct Uses<'a> {
    flag: &'a Flag,
    /// Whether this is in the destructor of the type.
    is_in_destructor: bool,
    is_defined: bool,
    /// Whether something may give it another value, apart from the destructor.
    is_changed: bool,
    /// Whether it is a field of a type with projections.
    is_projected: bool,
    is_read: bool,
    /// The values in struct literals.
    values: BTreeSet<bool>,
}

/// Derived traits that give a value nothing but what another has, or the default.
const DERIVES: [&str; 8] =
    ["Clone", "Debug", "Default", "Eq", "Hash", "Ord", "PartialEq", "PartialOrd"];

/// Attributes of a struct that add no code.
const PLAIN: [&str; 11] = [
    "allow",
    "cfg",
    "deny",
    "deprecated",
    "doc",
    "expect",
    "forbid",
    "must_use",
    "non_exhaustive",
    "repr",
    "warn",
];

impl Uses<'_> {
    /// An attribute of a definition may stand for any code.
    fn see_attribute(&mut self, attribute: &Meta) {
        let name =
            attribute.path().segments.last().map(|name| name.ident.to_string()).unwrap_or_default();
        match (name.as_str(), attribute) {
            ("derive", Meta::List(list)) => {
                let derived =
                    list.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated);
                let Ok(derived) = derived else { return self.is_changed = true };
                for name in derived.iter().filter_map(|path| path.segments.last()) {
                    self.is_changed |= !DERIVES.iter().any(|known| name.ident == known);
                    self.values.extend((name.ident == "Default").then_some(false));
                }
            }
            ("cfg_attr", Meta::List(list)) => {
                let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
                let Ok(parts) = parts else { return self.is_changed = true };
                parts.iter().skip(1).for_each(|attribute| self.see_attribute(attribute));
            }
            ("pin_project", _) => self.is_projected = true,
            (plain, _) => self.is_changed |= !PLAIN.contains(&plain),
        }
    }

    /// The place is written to, or may be.
    fn see_change(&mut self, place: &Expr) {
        if self.is_in_destructor && self.flag.is_own(place) {
            return;
        }
        let mut mentions = Mentions { word: &self.flag.field, first: None };
        mentions.visit_expr(place);
        self.is_changed |= mentions.first.is_some();
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_impl(&mut self, it: &'ast ItemImpl) {
        let is_it = destructor(it).is_some_and(|(of_type, _)| *of_type == self.flag.of_type);
        let is_in = mem::replace(&mut self.is_in_destructor, is_it);
        visit::visit_item_impl(self, it);
        self.is_in_destructor = is_in;
    }

    fn visit_item_struct(&mut self, it: &'ast ItemStruct) {
        let is_flag = |it: &&Field| it.ident.as_ref().is_some_and(|name| *name == self.flag.field);
        let flag = match &it.fields {
            Fields::Named(fields) if it.ident == self.flag.of_type => {
                fields.named.iter().find(is_flag)
            }
            _ => None,
        };
        if let Some(flag) = flag {
            let is_bool = matches!(&flag.ty, Type::Path(it) if it.path.is_ident("bool"));
            let is_private = matches!(flag.vis, Visibility::Inherited);
            self.is_changed |= !is_bool || !is_private || flag.default.is_some();
            self.is_defined = true;
            it.attrs.iter().for_each(|attribute| self.see_attribute(&attribute.meta));
        }
        visit::visit_item_struct(self, it);
    }

    /// A field in a struct literal.
    fn visit_field_value(&mut self, it: &'ast syn::FieldValue) {
        if self.flag.is(&it.member) {
            match &it.expr {
                Expr::Lit(syn::ExprLit { lit: Lit::Bool(value), .. }) => {
                    self.values.insert(value.value);
                }
                _ => self.is_changed = true,
            }
        }
        visit::visit_field_value(self, it);
    }

    /// A field in a pattern, which may be a reference to it.
    fn visit_field_pat(&mut self, it: &'ast syn::FieldPat) {
        self.is_changed |= self.flag.is(&it.member);
        visit::visit_field_pat(self, it);
    }

    fn visit_pat_ident(&mut self, it: &'ast syn::PatIdent) {
        self.is_changed |= it.by_ref.is_some() && it.mutability.is_some();
        visit::visit_pat_ident(self, it);
    }

    fn visit_expr_field(&mut self, it: &'ast ExprField) {
        let is_own = matches!(&*it.base, Expr::Path(base) if base.path.is_ident("self"));
        self.is_read |= self.flag.is(&it.member) && !(self.is_in_destructor && is_own);
        visit::visit_expr_field(self, it);
    }

    fn visit_expr_assign(&mut self, it: &'ast syn::ExprAssign) {
        self.see_change(&it.left);
        visit::visit_expr_assign(self, it);
    }

    fn visit_expr_binary(&mut self, it: &'ast syn::ExprBinary) {
        if let BinOp::BitAndAssign(_) | BinOp::BitOrAssign(_) | BinOp::BitXorAssign(_) = it.op {
            self.see_change(&it.left);
        }
        visit::visit_expr_binary(self, it);
    }

    fn visit_expr_reference(&mut self, it: &'ast syn::ExprReference) {
        if it.mutability.is_some() {
            self.see_change(&it.expr);
        }
        visit::visit_expr_reference(self, it);
    }

    fn visit_expr_raw_addr(&mut self, it: &'ast syn::ExprRawAddr) {
        self.see_change(&it.expr);
        visit::visit_expr_raw_addr(self, it);
    }

    fn visit_expr_method_call(&mut self, it: &'ast syn::ExprMethodCall) {
        if self.flag.is_in(&it.receiver) {
            self.see_change(&it.receiver);
        }
        visit::visit_expr_method_call(self, it);
    }

    /// What a macro does with it is not known, nor what is said in syntax that is not.
    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        let mut mentions = Mentions { word: &self.flag.field, first: None };
        mentions.see_tokens(tokens);
        self.is_changed |= mentions.first.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "impl Once { fn new() -> Self { Self { done: false } } }";
    const DROP: &str =
        "impl Drop for Once { fn drop(&mut self) { if !self.done { self.done = true; spawn() } } }";
    const STRUCT: &str = "struct Once { done: bool }";

    /// What is known of the first branch on a field of `self`.
    fn first_value(source: &str) -> Option<bool> {
        let file = syn::parse_file(source).expect("Rust");
        let places = ["if self.", "if !self."].map(|part| source.find(part).map(|at| at + 3));
        let at = places.into_iter().flatten().min().expect("a branch");
        let before = source[..at].lines();
        let (line, last) = (before.clone().count(), before.last().unwrap_or_default());
        let position = Position { file: "".into(), line, column: last.len() + 1 };
        let flag = Flag::asked_at(&position, &file)?;
        flag.first_value(&[&file])
    }

    /// The type with this as well.
    fn with(more: &str) -> Option<bool> {
        first_value(&[STRUCT, NEW, DROP, more].join("\n"))
    }

    #[test]
    fn a_flag_that_only_the_destructor_sets_has_its_first_value() {
        for more in [
            "",
            "fn is(it: &Once) -> bool { it.done }",
            "fn show(it: &Once) { let done = it.done; print(&it.done); match done { _ => {} } }",
            "fn replaced(it: &mut Once) { *it = Once::new(); take(it) }",
            "impl Other { fn new() -> Self { Self { done: false } } }",
            "#[cfg(a)] mod a { #[derive(Clone, Default)] #[repr(C)] struct Once { done: bool } }",
            "#[cfg(a)] impl Drop for Once { fn drop(&mut self) { set(&mut self.done) } }",
            // They have nothing to do with it.
            "macro_rules! a { ($a:expr) => { $a.dones = true } }",
            "fn set(it: &mut Other) { it.closed = true }",
        ] {
            assert_eq!(with(more), Some(false), "{more}");
        }
        let armed = DROP.replace("!self", "self").replace("= true", "= false");
        let new = NEW.replace("false", "true");
        assert_eq!(first_value(&[STRUCT, &new, &armed].join("\n")), Some(true));
        assert_eq!(first_value(&["#[derive(Default)]", STRUCT, DROP].join("\n")), Some(false));
    }

    #[test]
    fn a_flag_that_may_be_set_elsewhere_has_any_value() {
        for more in [
            "fn set(it: &mut Once) { it.done = true }",
            "fn set(it: &mut Once) { (it.done, _) = (true, 1) }",
            "fn set(it: &mut Once) { it.done |= true }",
            "fn set(it: &mut Once) { change(&mut it.done) }",
            "fn set(it: &mut Once) { change(&raw mut it.done) }",
            "fn set(it: &mut Once) { it.done.clone_from(&true) }",
            "fn set(it: &mut Once) { let Once { done } = it; *done = true }",
            "fn set(it: &mut Once) { let ref mut done = it.done; *done = true }",
            "fn set(it: &mut Once) { change!(it.done) }",
            "fn set(it: &mut Other) { it.once.done = true }",
            "macro_rules! set { ($a:expr) => { $a.done = true } }",
            "impl Once { fn of(done: bool) -> Self { Self { done } } }",
            "impl Once { fn of(is: bool) -> Self { Self { done: is } } }",
            "impl Once { fn second() -> Self { Self { done: true } } }",
            "impl Drop for Other { fn drop(&mut self) { self.once.done = true } }",
            "impl Drop for Once { fn drop(&mut self) { self.parent.done = true } }",
            "#[cfg(a)] mod a { pub struct Once { pub done: bool } }",
            "#[cfg(a)] mod a { pub struct Once { done: Cell<bool> } }",
            "#[cfg(a)] mod a { #[derive(Deserialize)] struct Once { done: bool } }",
            "#[cfg(a)] mod a { #[cfg_attr(b, derive(Deserialize))] struct Once { done: bool } }",
            "#[cfg(a)] mod a { #[setters] struct Once { done: bool } }",
            "impl Once { #[skip(done)] fn a(&self) {} }",
        ] {
            assert_eq!(with(more), None, "{more}");
        }
        let of = |parts: &[&str]| first_value(&parts.join("\n"));
        let default = ["#[derive(Default)]", STRUCT];
        let new = NEW.replace("false", "true");
        assert_eq!(of(&[&default.join("\n"), &new, DROP]), None);
        // A constructor that is not there, and a type.
        assert_eq!(of(&[STRUCT, DROP]), None);
        assert_eq!(of(&[NEW, DROP]), None);
        assert_eq!(of(&["enum Once { A { done: bool } }", NEW, DROP]), None);
    }

    #[test]
    fn a_projection_is_a_reference() {
        let projected = ["#[pin_project(PinnedDrop)]", STRUCT].join("\n");
        let drop = DROP.replace("impl Drop", "#[pinned_drop] impl PinnedDrop");
        let of = |more: &str| first_value(&[&projected, NEW, &drop, more].join("\n"));
        assert_eq!(of(""), Some(false));
        assert_eq!(of("fn set(it: Pin<&mut Once>) { change(it.project().done) }"), None);
    }

    #[test]
    fn a_branch_that_is_not_the_first_to_ask_says_nothing() {
        for body in [
            "self.done = true; if !self.done { spawn() }",
            "if self.done == false { spawn() }",
            "if !self.done && self.other { spawn() }",
            "if self.done() { spawn() }",
            "if self.inner.done { spawn() }",
            "while a() { if !self.done { self.done = true } }",
            "for _ in a() { if !self.done { self.done = true } }",
            "loop { if !self.done { self.done = true } }",
            "call(|| if !self.done { spawn() })",
            "call(async { if !self.done { spawn() } })",
            "log!(self.done); if !self.done { spawn() }",
            "impl A { fn a(&self) { if !self.done { spawn() } } }",
        ] {
            let drop = format!("impl Drop for Once {{ fn drop(&mut self) {{ {body} }} }}");
            assert_eq!(first_value(&[STRUCT, NEW, &drop].join("\n")), None, "{body}");
        }
        let other = "impl Once { fn a(&self) { if !self.done { spawn() } } }";
        assert_eq!(first_value(&[other, STRUCT, NEW, DROP].join("\n")), None);
    }
}
