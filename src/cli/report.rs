//! Diagnostics for people: message, file:line:column, the line with a caret, and what to do.
//!
//! Pure: takes diagnostics and a reader of files, gives text. It must not know where diagnostics come from.

use std::collections::HashMap;
use std::fmt::Write;

use crate::diagnostic::{Diagnostic, Position, Severity};
use crate::origin::Place;
use crate::yaml;

/// Renders diagnostics, a blank line between two; `read` gives the text of a file, if it can still be read.
pub(super) fn render(diagnostics: &[Diagnostic], read: impl Fn(&str) -> Option<String>) -> String {
    let mut texts: HashMap<&str, Option<String>> = HashMap::new();
    let mut out = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let place = diagnostic.origin.place.as_ref();
        let text = place.and_then(|place| texts.entry(&place.file).or_insert_with(|| read(&place.file)).as_deref());
        // Writing to a String cannot fail.
        let _ = one(&mut out, diagnostic, text);
    }
    out
}

/// `2 errors, 1 warning`; nothing to say gives `no findings`.
pub(super) fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity: Severity, one: &str, more: &str| match diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == severity)
        .count()
    {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {more}")),
    };
    let parts = [
        count(Severity::Error, "error", "errors"),
        count(Severity::Warning, "warning", "warnings"),
        count(Severity::Info, "note", "notes"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no findings".to_owned() } else { parts.join(", ") }
}

/// Longest part of a source line that is shown, in characters.
const WINDOW: usize = 120;

fn one(out: &mut String, diagnostic: &Diagnostic, text: Option<&str>) -> std::fmt::Result {
    writeln!(out, "{}[{}]: {}", diagnostic.severity.as_str(), diagnostic.code, line(&diagnostic.message))?;
    let object = object(diagnostic);
    match &diagnostic.origin.place {
        Some(place) => located(out, diagnostic, place, text, &object)?,
        None if !object.is_empty() => writeln!(out, " --> {object}")?,
        None => {}
    }
    match &diagnostic.hint {
        Some(hint) => writeln!(out, "  = help: {}", line(hint)),
        None => Ok(()),
    }
}

fn located(out: &mut String, it: &Diagnostic, place: &Place, text: Option<&str>, object: &str) -> std::fmt::Result {
    let found = it.position.or_else(|| yaml::locate(text?, place, &it.origin.field));
    let position = found.unwrap_or(Position { line: place.line, column: 1 });
    writeln!(out, " --> {}:{}:{}", place.file, position.line, position.column)?;
    if let Some(source) = text.and_then(|text| shown_line(text, position.line, it.origin.kind)) {
        excerpt(out, source, position)?;
    }
    if object.is_empty() { Ok(()) } else { writeln!(out, "  = in: {object}") }
}

/// The line that a fault is in, unless it may be part of a Secret: reports are pasted into tickets.
///
/// A text that cannot be parsed, or an object without kind, says itself whether it is one: its document is looked at.
fn shown_line<'t>(text: &'t str, number: u32, kind: &str) -> Option<&'t str> {
    let at = number.saturating_sub(1) as usize;
    let is_hidden = match kind {
        "Secret" => true,
        "" | "File" | "Conf" => may_be_secret(document(text, at)),
        _ => false,
    };
    if is_hidden { None } else { text.lines().nth(at) }
}

/// The lines of the YAML document that a line stands in.
fn document(text: &str, at: usize) -> impl Iterator<Item = &str> {
    let is_border = |line: &str| line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let start =
        text.lines().take(at + 1).enumerate().filter(|(_, line)| is_border(line)).map(|(index, _)| index).last();
    let start = start.unwrap_or_default();
    text.lines()
        .skip(start)
        .enumerate()
        .take_while(move |(index, line)| *index == 0 || !is_border(line))
        .map(|(_, line)| line)
}

fn may_be_secret<'t>(mut lines: impl Iterator<Item = &'t str>) -> bool {
    const SIGNS: [&str; 4] = ["kind:secret", "stringdata", "tls.key", "privatekey"];
    lines.any(|line| {
        let bare: String = line.chars().filter(|c| !matches!(c, '"' | '\'' | ' ' | '\t')).collect();
        let bare = bare.to_ascii_lowercase();
        SIGNS.iter().any(|sign| bare.contains(sign))
    })
}

/// The source line and a caret; of a long line, the part around the caret.
fn excerpt(out: &mut String, source: &str, position: Position) -> std::fmt::Result {
    let column = position.column.saturating_sub(1) as usize;
    let start = if column < WINDOW { 0 } else { column - WINDOW / 2 };
    let shown: String = source.chars().skip(start).take(WINDOW).map(printable).collect();
    let number = position.line.to_string();
    let margin = " ".repeat(number.len());
    writeln!(out, "{margin} |\n{number} | {}", shown.trim_end())?;
    writeln!(out, "{margin} | {}^", " ".repeat(column - start))
}

/// The object and field, for diagnostics about one; the conf and whole files are named by their path already.
fn object(diagnostic: &Diagnostic) -> String {
    let origin = &diagnostic.origin;
    let is_file = matches!(origin.kind, "Conf" | "File") && origin.place.is_some();
    let object = if is_file { String::new() } else { origin.object() };
    format!("{object} {}", origin.field).trim().to_owned()
}

/// One line: messages may quote what files say.
pub(super) fn line(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// Control characters would let a file write to the terminal.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::origin::Origin;

    const TEXT: &str = "kind: Ingress\nspec:\n  rules:\n  - host: a_b\n";

    fn origin() -> Origin {
        let place = Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
        Origin::new("Ingress", "shop", "web", Some(place))
    }

    fn rendered(diagnostics: &[Diagnostic]) -> String {
        render(diagnostics, |file| (file == "a.yaml").then(|| TEXT.to_owned()))
    }

    #[test]
    fn a_field_is_found_from_its_origin_and_shown_with_a_caret() {
        let diagnostic = Diagnostic::error(Code::InvalidHost, &origin().at("spec.rules[0].host"), "`a_b` is no host");
        assert_eq!(
            rendered(&[diagnostic.hint("use `a-b`")]),
            "error[InvalidHost]: `a_b` is no host
 --> a.yaml:4:11
  |
4 |   - host: a_b
  |           ^
  = in: Ingress/shop/web spec.rules[0].host
  = help: use `a-b`
"
        );
    }

    #[test]
    fn a_known_position_is_taken_as_it_is() {
        let place = Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
        let origin = Origin::new("Conf", "", "a.yaml", Some(place));
        let diagnostic = Diagnostic::warning(Code::InvalidYaml, &origin, "odd").at(Position { line: 2, column: 1 });
        assert_eq!(rendered(&[diagnostic]), "warning[InvalidYaml]: odd\n --> a.yaml:2:1\n  |\n2 | spec:\n  | ^\n");
    }

    #[test]
    fn an_object_without_file_shows_its_origin_only() {
        let origin = Origin::new("Secret", "shop", "tls", None).at("data");
        let diagnostics = [
            Diagnostic::info(Code::UnknownKind, &origin, "there is no key"),
            Diagnostic::info(Code::SecretType, &Origin::default(), "something is odd"),
        ];
        assert_eq!(
            rendered(&diagnostics),
            "info[UnknownKind]: there is no key\n --> Secret/shop/tls data\n\ninfo[SecretType]: something is odd\n"
        );
    }

    #[test]
    fn a_file_that_is_gone_shows_the_line_of_its_object() {
        let diagnostic = Diagnostic::error(Code::Internal, &origin(), "x");
        let text = render(&[diagnostic], |_| None);
        assert_eq!(text, "error[Internal]: x\n --> a.yaml:1:1\n  = in: Ingress/shop/web\n");
    }

    #[test]
    fn a_line_of_a_secret_is_not_shown() {
        let place = Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
        let origin = Origin::new("Secret", "shop", "tls", Some(place)).at("data.key");
        let text =
            render(&[Diagnostic::error(Code::Internal, &origin, "x")], |_| Some("data: { key: hunter2 }\n".to_owned()));
        assert_eq!(text, "error[Internal]: x\n --> a.yaml:1:14\n  = in: Secret/shop/tls data.key\n");
    }

    #[test]
    fn a_line_of_a_text_that_may_be_a_secret_is_not_shown() {
        let place = || Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
        let broken = |kind, line, text: &str| {
            let origin = Origin::new(kind, "", "a.yaml", Some(place()));
            let diagnostic = Diagnostic::error(Code::InvalidYaml, &origin, "odd").at(Position { line, column: 1 });
            render(&[diagnostic], |_| Some(text.to_owned()))
        };
        let key = "-----BEGIN PRIVATE KEY-----\nMIIhunter2\n";
        for head in [
            "kind: Secret\n",
            "{ \"kind\" : \"Secret\",\n",
            "stringData: {\n",
            "data: { tls.key: |\n",
            "items:\n- kind: SecretList\n",
        ] {
            let text = format!("kind: Service\n---\n{head}MIIhunter2\n--- # next\nkind: Ingress\nx: y\n");
            let line = 3 + head.lines().count() as u32;
            assert!(!broken("File", line, &text).contains("hunter2"), "{head}");
            assert!(!broken("", line, &text).contains("hunter2"), "{head}");
            assert!(broken("File", 1, &text).contains("1 | kind: Service"), "the document before is shown: {head}");
            assert!(broken("File", line + 3, &text).contains("| x: y"), "the one after is shown: {head}");
        }
        assert!(!broken("File", 2, key).contains("hunter2"));
    }

    #[test]
    fn a_long_line_is_shown_around_the_caret_and_without_control_characters() {
        let diagnostic = Diagnostic::error(Code::Internal, &origin(), "x\ny").at(Position { line: 1, column: 1001 });
        let text = render(&[diagnostic], |_| Some(format!("{}HERE\u{1b}[31m{}", "a".repeat(1000), "b".repeat(1000))));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error[Internal]: x y");
        assert_eq!(lines[3].chars().count(), WINDOW + 4);
        let caret = lines[4].find('^').unwrap();
        assert!(lines[3][caret..].starts_with("HERE [31m"), "{text}");
    }

    #[test]
    fn the_summary_counts_by_severity() {
        let it = |severity: fn(Code, &Origin, &'static str) -> Diagnostic| severity(Code::Internal, &origin(), "x");
        let all = [it(Diagnostic::error), it(Diagnostic::error), it(Diagnostic::warning), it(Diagnostic::info)];
        assert_eq!(summary(&all), "2 errors, 1 warning, 1 note");
        assert_eq!(summary(&[]), "no findings");
    }
}
