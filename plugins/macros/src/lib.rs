//! The attribute `#[plugin]` of the crate `tidegate-plugin`: see there.
//!
//! It reads the names of the methods of an `impl Plugin for …` and adds one that lists them. Which methods of a trait a
//! type has written cannot be asked of the type, so the text of the `impl` is the one place that always knows. Names at
//! the top of a block need no parser of the language, hence no dependency.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Methods, and the hook that each is of.
const HOOKS: &[(&str, &str)] = &[
    ("on_request", "REQUEST"),
    ("wait", "REQUEST"),
    ("on_route", "ROUTE"),
    ("on_upstream_request", "UPSTREAM_REQUEST"),
    ("on_request_body", "REQUEST_BODY"),
    ("wait_request_body", "REQUEST_BODY"),
    ("on_response", "RESPONSE"),
    ("wait_response", "RESPONSE"),
    ("on_response_body", "RESPONSE_BODY"),
    ("on_log", "LOG"),
];

/// Stands before `impl Plugin for …` and says which hooks are written there.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return error("`#[plugin]` takes no arguments");
    }
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let is_impl = tokens.iter().any(|token| is_word(token, "impl")) && tokens.iter().any(|token| is_word(token, "for"));
    let Some(TokenTree::Group(body)) = tokens.pop_if(|last| is_block(last)).filter(|_| is_impl) else {
        return error("`#[plugin]` stands before `impl Plugin for …`");
    };
    let methods = match methods(&body.stream()) {
        Ok(methods) => methods,
        Err(message) => return error(message),
    };
    let written = HOOKS.iter().filter(|(method, _)| methods.iter().any(|name| name == method));
    let sum: String = written.map(|(_, hook)| format!(".and(::tidegate_plugin::Hooks::{hook})")).collect();
    let listed = format!(
        "fn written(&self) -> ::tidegate_plugin::Written \
         {{ ::tidegate_plugin::Written::read(::tidegate_plugin::Hooks::NONE{sum}) }}"
    );
    let Ok(listed) = listed.parse::<TokenStream>() else { return error("`#[plugin]` has made no Rust") };
    let mut block = Group::new(Delimiter::Brace, body.stream().into_iter().chain(listed).collect());
    block.set_span(body.span());
    tokens.into_iter().chain([TokenTree::Group(block)]).collect()
}

/// Names of the methods at the top of a block.
fn methods(block: &TokenStream) -> Result<Vec<String>, &'static str> {
    let tokens: Vec<TokenTree> = block.clone().into_iter().collect();
    let mut names = Vec::new();
    for pair in tokens.windows(2) {
        match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word.to_string() == "fn" => {
                names.push(name.to_string());
            }
            // It could write a hook that nobody sees here.
            [TokenTree::Ident(_), TokenTree::Punct(mark)] if mark.as_char() == '!' => {
                return Err("`#[plugin]` cannot see into macros: write the methods out");
            }
            _ => {}
        }
    }
    Ok(names)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}

fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn error(message: &str) -> TokenStream {
    format!("::core::compile_error!({message:?});").parse().unwrap_or_default()
}
