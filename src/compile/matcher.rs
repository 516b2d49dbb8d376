//! Conditions of routes, with their regular expressions compiled under limits.

use std::sync::Arc;

use http::{HeaderName, Method};
use regex::RegexBuilder;
use regex::bytes::RegexBuilder as BytesRegexBuilder;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Match, PathMatch, TextMatch};
use crate::origin::Origin;
use crate::snapshot::router::{Conditions, PathRegex, PathTest, TextTest};

/// Bytes of a pattern.
const MAX_PATTERN: usize = 1024;
/// Bytes of a compiled expression, and of the cache that it matches with.
const MAX_COMPILED: usize = 1024 * 1024;
/// Regular expressions of a host.
const MAX_PER_HOST: usize = 100;

/// Compiles the conditions of one host's routes and counts its regular expressions.
#[derive(Default)]
pub(super) struct Matchers {
    regexes: usize,
}

/// Error of a regular expression that is refused.
struct Refused(String);

// === impl Matchers ===

impl Matchers {
    /// Compiles what a route asks of requests.
    ///
    /// # Errors
    /// What cannot be compiled; the route is then not served.
    pub(super) fn compile(
        &mut self,
        matcher: &Match,
        origin: &Origin,
    ) -> Result<(PathTest, Conditions), Box<Diagnostic>> {
        let path = self.path(&matcher.path, origin)?;
        let methods = matcher.methods.iter().map(|method| read_method(method, origin)).collect::<Result<_, _>>()?;
        let headers = matcher.headers.iter().map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let name = name.map_err(|_| invalid(origin, format!("`{}` is not a header name", header.name)))?;
            Ok((name, self.text(&header.value, origin)?))
        });
        let headers = headers.collect::<Result<_, Box<Diagnostic>>>()?;
        let query = matcher.query.iter().map(|it| Ok((Arc::clone(&it.name), self.text(&it.value, origin)?)));
        let query = query.collect::<Result<_, Box<Diagnostic>>>()?;
        Ok((path, Conditions { methods, headers, query }))
    }

    fn path(&mut self, path: &PathMatch, origin: &Origin) -> Result<PathTest, Box<Diagnostic>> {
        match path {
            PathMatch::Exact(text) => Ok(PathTest::Exact(Arc::clone(text))),
            PathMatch::Prefix(text) => Ok(PathTest::prefix(text)),
            PathMatch::Regex(pattern) => {
                let compile =
                    |text: &str| RegexBuilder::new(text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build();
                let regex = self.regex(pattern, |pattern| format!("^(?:{pattern})"), compile);
                let regex = regex.map_err(|refused| refused.diagnostic(pattern, origin))?;
                Ok(PathTest::Regex(Box::new(PathRegex::new(Arc::clone(pattern), regex))))
            }
        }
    }

    fn text(&mut self, text: &TextMatch, origin: &Origin) -> Result<TextTest, Box<Diagnostic>> {
        match text {
            TextMatch::Present => Ok(TextTest::Present),
            TextMatch::Exact(text) => Ok(TextTest::Exact(Arc::clone(text))),
            TextMatch::Regex(pattern) => {
                let compile = |text: &str| {
                    BytesRegexBuilder::new(text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build()
                };
                let regex = self.regex(pattern, |pattern| format!(r"\A(?:{pattern})\z"), compile);
                let regex = regex.map_err(|refused| refused.diagnostic(pattern, origin))?;
                Ok(TextTest::Regex(Arc::clone(pattern), regex))
            }
        }
    }

    fn regex<R>(
        &mut self,
        pattern: &str,
        anchor: impl Fn(&str) -> String,
        compile: impl Fn(&str) -> Result<R, regex::Error>,
    ) -> Result<R, Refused> {
        if pattern.len() > MAX_PATTERN {
            return Err(Refused(format!("longer than {MAX_PATTERN} bytes")));
        }
        if self.regexes == MAX_PER_HOST {
            return Err(Refused(format!("the host has more than {MAX_PER_HOST} regular expressions")));
        }
        // Alone first: `a)|(?:b` is only well formed inside the anchor's brackets, and would undo it.
        compile(pattern).map_err(Refused::from)?;
        let regex = compile(&anchor(pattern)).map_err(Refused::from)?;
        self.regexes += 1;
        Ok(regex)
    }
}

// === impl Refused ===

impl Refused {
    fn diagnostic(self, pattern: &str, origin: &Origin) -> Box<Diagnostic> {
        let shown: String = pattern.chars().take(60).collect();
        let more = if shown.len() < pattern.len() { "…" } else { "" };
        let message = format!("regex `{shown}{more}`: {}", self.0);
        let hint = "the syntax is that of Rust's regex crate, without look-around and back-references";
        Box::new(Diagnostic::error(Code::InvalidRegex, origin, message).hint(hint))
    }
}

impl From<regex::Error> for Refused {
    /// Brings the crate's drawing (pattern, a caret under the fault, `error: …`) into one line.
    fn from(error: regex::Error) -> Self {
        let text = match &error {
            regex::Error::CompiledTooBig(limit) => return Self(format!("compiled, it is larger than {limit} bytes")),
            error => error.to_string(),
        };
        let message = text.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&text).to_owned();
        let caret = text.lines().find(|line| line.contains('^') && line.trim_matches([' ', '^']).is_empty());
        match caret.and_then(|line| line.find('^')) {
            Some(at) => Self(format!("{message} at column {}", (at + 1).saturating_sub(4))),
            None => Self(message),
        }
    }
}

fn read_method(method: &str, origin: &Origin) -> Result<Method, Box<Diagnostic>> {
    Method::from_bytes(method.as_bytes()).map_err(|_| invalid(origin, format!("`{method}` is not a method")))
}

fn invalid(origin: &Origin, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Code::InvalidMatch, origin, message))
}
