//! Whether a piece of nginx configuration has a rule of access. It is read as nginx reads it, and never used.
//!
//! Source: nginx, `ngx_conf_read_token`: words end at blanks, `;`, `{` and `}`; quotes and `#` count at the beginning
//! of a word; a backslash takes the next letter's meaning; `${` is part of a word.

/// Directives that decide who may pass, whatever stands behind them.
const RULES: &[&str] = &["allow", "deny", "satisfy", "limit_except", "internal", "valid_referers", "include"];
/// The same, by the beginning of their names. `*_by_lua*` is a program, which may decide anything.
const BEGINNINGS: &[&str] = &["auth_", "access_by_", "secure_link", "modsecurity", "js_access"];
const PROGRAM: &str = "_by_lua";
/// Directives that have somebody's certificate verified, unless they say `off`.
const VERIFYING: &[&str] = &["ssl_verify_client", "proxy_ssl_verify", "grpc_ssl_verify", "uwsgi_ssl_verify"];

/// A snippet that ends inside quotes, or behind a backslash, and cannot be parsed.
struct Unreadable;

/// Whether somebody is to be kept out, or that cannot be told.
pub(crate) fn has_access_rule(text: &str) -> bool {
    statements(text).map_or(true, |statements| statements.iter().any(|words| is_access_rule(words)))
}

fn is_access_rule(words: &[String]) -> bool {
    let mut words = words.iter().map(|word| word.to_ascii_lowercase());
    let Some(first) = words.next() else { return false };
    let name = first.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let value = words.next();
    if name == "return" {
        return value.is_some_and(|status| refuses(&status));
    }
    if VERIFYING.contains(&name) {
        return value.as_deref() != Some("off");
    }
    RULES.contains(&name) || BEGINNINGS.iter().any(|start| name.starts_with(start)) || name.contains(PROGRAM)
}

/// Statuses that refuse; nginx's own 444 says nothing at all.
fn refuses(status: &str) -> bool {
    status.parse::<u16>().is_ok_and(|status| (400..=599).contains(&status))
}

/// Splits a text into directives, each with its words; blocks are flat.
fn statements(text: &str) -> Result<Vec<Vec<String>>, Unreadable> {
    let mut all = Vec::new();
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' => {}
            ';' | '{' | '}' => all.push(std::mem::take(&mut words)),
            '#' => while letters.next_if(|next| *next != '\n').is_some() {},
            quote @ ('"' | '\'') => words.push(quoted(&mut letters, quote)?),
            first => words.push(word(&mut letters, first)?),
        }
    }
    all.push(words);
    Ok(all)
}

type Letters<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn quoted(letters: &mut Letters<'_>, quote: char) -> Result<String, Unreadable> {
    let mut word = String::new();
    loop {
        match letters.next().ok_or(Unreadable)? {
            '\\' => word.push(letters.next().ok_or(Unreadable)?),
            letter if letter == quote => return Ok(word),
            letter => word.push(letter),
        }
    }
}

fn word(letters: &mut Letters<'_>, first: char) -> Result<String, Unreadable> {
    let mut word = String::new();
    let mut next = Some(first);
    while let Some(letter) = next {
        word.push(letter);
        if letter == '\\' {
            word.push(letters.next().ok_or(Unreadable)?);
        } else if letter == '$' && letters.next_if_eq(&'{').is_some() {
            word.push('{');
            // As nginx: up to the closing brace, which is part of the word too.
            while let Some(inner) = letters.next_if(|next| !next.is_whitespace() && !matches!(next, ';' | '}')) {
                word.push(inner);
            }
            word.extend(letters.next_if_eq(&'}'));
        }
        next = letters.next_if(|next| !matches!(next, ' ' | '\t' | '\r' | '\n' | ';' | '{' | '}'));
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_of_access_are_found_wherever_they_stand() {
        for text in [
            "deny all;",
            "deny all",
            "DENY all;",
            "\tallow 10.0.0.0/8;\r\n  deny\n all;",
            "more_set_headers \"A: b\";deny all;",
            "auth_basic 'x';",
            "auth_request /auth;",
            "satisfy any;",
            "return 403;",
            "return\n  401 \"no; really\";",
            "return \"404\";",
            "return 444;",
            "return 503;",
            "if ($http_x != 1) { return 403; }",
            "if ($http_x != 1) {return 403;}",
            "if ($x ~ \"}\") { return 403; }",
            "location /admin { deny all; }",
            "location /a { location /a/b {deny all;} }",
            "# allowed from here on:\ndeny all;",
            "set $a b#c; deny all;",
            "set $a \"#\"; deny all;",
            "set $a \"\\\"\"; deny all;",
            "set $a 'it\\'s'; deny all;",
            "set $a \\; ; deny all;",
            "proxy_set_header X ${a}; deny all;",
            "proxy_set_header X a\"b; deny all;",
            "\"deny\" all;",
            "limit_except GET { proxy_pass http://x; }",
            "ssl_verify_client on;",
            "proxy_ssl_verify on;",
            "access_by_lua_block { ngx.exit(403) }",
            "rewrite_by_lua_block { ngx.exit(403) }",
            "modsecurity on;",
            "include /etc/nginx/auth.conf;",
            "set $a \"never closed; deny all;",
            "add_header a b\\",
        ] {
            assert!(has_access_rule(text), "{text}");
        }
    }

    #[test]
    fn other_directives_are_no_rules_of_access() {
        for text in [
            "",
            "# deny all;",
            "#deny all;\n# return 403;",
            "more_set_headers \"X-Y: deny all;\";",
            "add_header X 'return 403;';",
            "add_header X a;return 200;",
            "return 301 https://a.test/deny;",
            "return 200 \"auth_basic\";",
            "return https://a.test;",
            "proxy_set_header X ${deny};",
            "proxy_set_header allow all;",
            "rewrite ^/deny /allow break;",
            "proxy_ssl_verify off;",
            "if ($host = a) { set $deny 1; }",
            "proxy_hide_header denyx;",
            "denyx all;",
        ] {
            assert!(!has_access_rule(text), "{text}");
        }
    }

    /// Statements that leave the reader where the next one begins.
    fn statement() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "set $a 1;",
            "add_header A \"b; { # }\";",
            "add_header A 'it''s';",
            "if ($a) { set $b \\}; }",
            "# a comment; deny\n",
            "location /x {",
            "}",
            "proxy_set_header A ${b};",
            " \r\n\t",
        ])
        .prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn nothing_in_front_or_behind_hides_a_rule(
            before in prop::collection::vec(statement(), 0..8),
            rule in prop::sample::select(vec!["deny all;", "return 403;", "auth_basic x;", "satisfy all;"]),
            after in prop::collection::vec(statement(), 0..4),
        ) {
            let around = format!("{}{}", before.concat(), after.concat());
            prop_assert!(!has_access_rule(&around), "{}", around);
            let text = format!("{}{}{}", before.concat(), rule, after.concat());
            prop_assert!(has_access_rule(&text), "{}", text);
        }

        #[test]
        fn any_text_is_read_to_its_end(text: String) {
            has_access_rule(&text);
        }
    }
}
