//! `flavor = "…", worker_threads = 2, start_paused = true, allow(thread = "…", reason = "…"), crate = "…"`.

use syn::{
    Expr, Ident, LitBool, LitStr, Path, Result, Token,
    ext::IdentExt as _,
    parenthesized,
    parse::{Parse, ParseStream},
    parse_quote,
    punctuated::Punctuated,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    CurrentThread,
    MultiThread,
}

/// Something that the test may leave behind.
pub struct Allowed {
    /// The variant of `Kind`.
    pub kind: Ident,
    pub name: LitStr,
    pub reason: LitStr,
}

pub struct Arguments {
    pub flavor: Option<Flavor>,
    pub worker_threads: Option<Expr>,
    pub start_paused: Option<LitBool>,
    pub allowed: Vec<Allowed>,
    /// What `sundown` is called.
    pub krate: Path,
}

const KNOWN: &str = "`flavor`, `worker_threads`, `start_paused`, `allow` or `crate`";

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self {
            flavor: None,
            worker_threads: None,
            start_paused: None,
            allowed: Vec::new(),
            krate: parse_quote!(::sundown),
        };
        let mut workers_at = None;
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            if key == "allow" {
                let inside;
                parenthesized!(inside in input);
                arguments.allowed.push(inside.parse()?);
            } else {
                input.parse::<Token![=]>()?;
                match &*key.to_string() {
                    "flavor" => arguments.flavor = Some(flavor(&input.parse()?)?),
                    "worker_threads" => {
                        workers_at = Some(key.span());
                        arguments.worker_threads = Some(input.parse()?);
                    }
                    "start_paused" => arguments.start_paused = Some(input.parse()?),
                    "crate" => arguments.krate = input.parse::<LitStr>()?.parse()?,
                    other => {
                        let message = format!("unknown argument `{other}`: use {KNOWN}");
                        return Err(syn::Error::new(key.span(), message));
                    }
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        match workers_at {
            Some(at) if arguments.flavor != Some(Flavor::MultiThread) => {
                Err(syn::Error::new(at, "`worker_threads` needs `flavor = \"multi_thread\"`"))
            }
            _ => Ok(arguments),
        }
    }
}

fn flavor(text: &LitStr) -> Result<Flavor> {
    match &*text.value() {
        "current_thread" => Ok(Flavor::CurrentThread),
        "multi_thread" => Ok(Flavor::MultiThread),
        other => Err(syn::Error::new(
            text.span(),
            format!("unknown flavor `{other}`: use `current_thread` or `multi_thread`"),
        )),
    }
}

/// `thread = "…", reason = "…"`
impl Parse for Allowed {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let kind = match &*key.to_string() {
            "task" => "Task",
            "thread" => "Thread",
            "descriptor" => "Descriptor",
            "socket" => "Socket",
            "process" => "Process",
            other => {
                let message = format!(
                    "nothing can be allowed as `{other}`: use `task`, `thread`, `descriptor`, `socket` or `process`"
                );
                return Err(syn::Error::new(key.span(), message));
            }
        };
        let kind = Ident::new(kind, key.span());
        input.parse::<Token![=]>()?;
        let name: LitStr = input.parse()?;
        let mut rest = Punctuated::<Reason, Token![,]>::new();
        if input.parse::<Option<Token![,]>>()?.is_some() {
            rest = Punctuated::parse_terminated(input)?;
        }
        match rest.into_iter().next() {
            Some(Reason(reason)) if !reason.value().trim().is_empty() => {
                Ok(Self { kind, name, reason })
            }
            _ => Err(syn::Error::new(
                key.span(),
                "an allowance needs a reason: `reason = \"…\"` says why this may be left behind",
            )),
        }
    }
}

struct Reason(LitStr);

impl Parse for Reason {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        if key != "reason" {
            return Err(syn::Error::new(key.span(), "only `reason` comes here"));
        }
        input.parse::<Token![=]>()?;
        input.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Arguments, String> {
        syn::parse_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        let arguments = parse(
            "flavor = \"multi_thread\", worker_threads = 2, start_paused = true, crate = \"my::kit\", \
             allow(thread = \"a\", reason = \"b\"), allow(socket = \"c\", reason = \"d\"),",
        );
        let Ok(Arguments { flavor, worker_threads, start_paused, allowed, krate }) = arguments
        else {
            unreachable!("it is correct");
        };
        assert!(flavor == Some(Flavor::MultiThread) && worker_threads.is_some());
        assert!(start_paused.is_some_and(|it| it.value) && krate.segments.len() == 2);
        let allowed: Vec<_> = allowed
            .iter()
            .map(|it| (it.kind.to_string(), it.name.value(), it.reason.value()))
            .collect();
        let expected =
            [["Thread", "a", "b"], ["Socket", "c", "d"]].map(|it| it.map(str::to_owned).into());
        assert_eq!(allowed, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("flavour = \"multi_thread\"", "unknown argument `flavour`"),
            ("flavor = \"local\"", "unknown flavor `local`"),
            ("worker_threads = 2", "needs `flavor = \"multi_thread\"`"),
            ("allow(memory = \"a\", reason = \"b\")", "nothing can be allowed as `memory`"),
            ("allow(thread = \"a\")", "an allowance needs a reason"),
            ("allow(thread = \"a\", reason = \" \")", "an allowance needs a reason"),
            ("allow(thread = \"a\", because = \"b\")", "only `reason` comes here"),
        ] {
            let error = parse(text).err();
            assert!(error.as_ref().is_some_and(|it| it.contains(expected)), "{text}: {error:?}");
        }
    }
}
