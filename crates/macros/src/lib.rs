//! The attribute of a test that notices what it leaves behind. Use it as `sundown::test`; the documentation is at
//! `sundown::testing`.

mod arguments;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::{Attribute, Expr, ItemFn, Meta, Result, ReturnType, Token, spanned::Spanned as _};

use arguments::{Arguments, Flavor};

/// A test that fails if it leaves a task, a thread, a descriptor, a socket or a child process behind: see the module
/// `testing`.
///
/// It takes what `#[tokio::test]` takes (`flavor`, `worker_threads`, `start_paused`, `crate`), and
/// `allow(thread = "part of its name", reason = "why it may stay")`, also for `task`, `descriptor`, `socket` and `process`. The
/// function may be `async` or not.
///
/// With `#[should_panic]` the body has to panic, and the test still fails if that leaves something behind.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    match expand(arguments, item.clone()) {
        Ok(tokens) => tokens.into(),
        // The function stays, so that an editor still knows what is in it.
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#error #item).into()
        }
    }
}

fn expand(arguments: TokenStream, item: Tokens) -> Result<Tokens> {
    let arguments: Arguments = syn::parse(arguments)?;
    let ItemFn { mut attrs, vis, mut sig, block, .. } = syn::parse2(item)?;
    if let Some(input) = sig.inputs.first() {
        return Err(syn::Error::new(input.span(), "a test has no arguments"));
    }
    let (name, is_async) = (sig.ident.clone(), sig.asyncness.take().is_some());
    let Arguments { flavor, worker_threads, start_paused, allowed, krate } = arguments;
    if !is_async && (flavor.is_some() || worker_threads.is_some() || start_paused.is_some()) {
        let message = "a test without `async` has no runtime to configure";
        return Err(syn::Error::new(sig.span(), message));
    }
    let testing = quote!(#krate::testing);
    let allowed = allowed.iter().map(|it| {
        let (kind, name, reason) = (&it.kind, &it.name, &it.reason);
        quote!(.allow(#testing::Kind::#kind, #name, #reason))
    });
    let expected = expected_panic(&mut attrs, &sig.output)?;
    let expected = expected.map(|text| quote!(.should_panic(#text)));
    let options = quote!(#testing::Options::new()#(#allowed)* #expected);
    let path = quote!(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)));
    // No function: its name would hide one of the test's module.
    let output = match sig.output {
        ReturnType::Default => quote!(-> ()),
        output => quote!(#output),
    };
    let body = if is_async {
        let builder = match flavor.unwrap_or(Flavor::CurrentThread) {
            Flavor::CurrentThread => quote!(new_current_thread()),
            Flavor::MultiThread => quote!(new_multi_thread()),
        };
        let workers = worker_threads.map(|workers| quote!(.worker_threads(#workers)));
        // Only if it is asked for: it exists with Tokio's feature `test-util` alone.
        let paused = start_paused.map(|paused| quote!(.start_paused(#paused)));
        quote! {
            #testing::run_async(#path, #options, || {
                #testing::#builder #workers #paused .enable_all().build()
            }, async || #output #block);
        }
    } else {
        quote! {
            #testing::run(#path, #options, || #output #block);
        }
    };
    Ok(quote_spanned! {name.span()=>
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() {
            #body
        }
    })
}

/// Takes `#[should_panic]` off: to the harness, the report of a leak would be the panic that is expected. Returns the text
/// that is expected, or an empty one.
fn expected_panic(attrs: &mut Vec<Attribute>, output: &ReturnType) -> Result<Option<Expr>> {
    let is_it = |attribute: &Attribute| attribute.path().is_ident("should_panic");
    let Some(at) = attrs.iter().position(is_it) else { return Ok(None) };
    let attribute = attrs.remove(at);
    // The compiler uses the first, too.
    attrs.retain(|attribute| !is_it(attribute));
    if let ReturnType::Type(_, output) = output {
        if !matches!(&**output, syn::Type::Tuple(tuple) if tuple.elems.is_empty()) {
            return Err(syn::Error::new(output.span(), "a test that should panic returns nothing"));
        }
    }
    match attribute.meta {
        Meta::Path(_) => Ok(Some(syn::parse_quote!(""))),
        Meta::NameValue(text) => Ok(Some(text.value)),
        Meta::List(list) => list
            .parse_args_with(|input: syn::parse::ParseStream<'_>| {
                let key: syn::Ident = input.parse()?;
                if key != "expected" {
                    return Err(syn::Error::new(key.span(), "only `expected` comes here"));
                }
                input.parse::<Token![=]>()?;
                let text = input.parse()?;
                input.parse::<Option<Token![,]>>()?;
                Ok(text)
            })
            .map(Some),
    }
}
