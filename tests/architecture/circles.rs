//! No circle of files: what one file takes from another, that one never takes from it, by whatever way around.
//!
//! An import is drawn to the file that defines the name, through every `pub use` on the way. A module and what stands
//! inside it are one room: between those nothing is drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{is_test, read, root, rust_files};

/// A file of the library.
struct Module {
    file: PathBuf,
    /// Names that it defines.
    defined: BTreeSet<String>,
    /// What it takes, as absolute paths; the last segment may be `*`.
    uses: Vec<Vec<String>>,
}

/// Files by their module path: `["proxy", "upstream"]`.
type House = BTreeMap<Vec<String>, Module>;

#[test]
fn no_circle_of_files() {
    let house = house();
    let arrows = arrows(&house);
    let circles: Vec<String> = circles(&arrows).into_iter().map(|circle| describe(&house, &arrows, &circle)).collect();
    assert!(circles.is_empty(), "{} circles of files:\n{}", circles.len(), circles.join("\n"));
}

fn house() -> House {
    let src = root().join("src");
    let files = rust_files(&src).into_iter().filter(|file| !is_test(file));
    files
        .filter_map(|file| {
            let path = module_path(file.strip_prefix(&src).unwrap());
            (!matches!(path.first().map(String::as_str), Some("main" | "lib"))).then(|| {
                let text = without_tests(&read(&file));
                let uses = uses(&text, &path);
                (path, Module { defined: defined(&text), uses, file })
            })
        })
        .collect()
}

fn module_path(file: &Path) -> Vec<String> {
    file.with_extension("").components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect()
}

/// The text without comments, and without the test module that ends it.
fn without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn defined(text: &str) -> BTreeSet<String> {
    const WORDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|it| !it.is_empty()).collect();
    words.windows(2).filter(|pair| WORDS.contains(&pair[0])).map(|pair| pair[1].to_owned()).collect()
}

/// Every path of `use` and every path in the code that begins with `crate`, `super` or `self` or a child's name.
fn uses(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let is_word = rest[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == ')');
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        if is_word {
            expand(&rest[at + 4..end].split_whitespace().collect::<String>(), &[], &mut found);
        }
        rest = &rest[if is_word { end } else { at + 4 }..];
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let inline = text.split(|c: char| !is_part(c)).filter(|path| path.contains("::"));
    found.extend(inline.map(|path| path.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect()));
    found.into_iter().filter_map(|path: Vec<String>| absolute(path, module)).collect()
}

/// `a::{b, c as d}` as `a::b` and `a::c`.
fn expand(path: &str, before: &[String], found: &mut Vec<Vec<String>>) {
    let Some((head, rest)) = path.split_once('{') else {
        let own = path.split("::").filter(|it| !it.is_empty()).map(str::to_owned);
        return found.push(before.iter().cloned().chain(own).collect());
    };
    let before: Vec<String> =
        before.iter().cloned().chain(head.split("::").filter(|it| !it.is_empty()).map(str::to_owned)).collect();
    let (mut depth, mut from) = (0, 0);
    let inside = rest.strip_suffix('}').unwrap_or(rest);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &inside[from..at];
                if !part.is_empty() {
                    expand(part, &before, found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// From the root of the library; `None`: of another crate.
fn absolute(path: Vec<String>, module: &[String]) -> Option<Vec<String>> {
    let mut at = module.to_vec();
    let mut rest = path.into_iter().peekable();
    match rest.peek()?.as_str() {
        "crate" => {
            at.clear();
            rest.next();
        }
        "self" => {
            rest.next();
        }
        "super" => {
            while rest.next_if(|it| it == "super").is_some() {
                at.pop();
            }
        }
        _ => {}
    }
    at.extend(rest);
    Some(at)
}

/// From file to file, with the names that are taken.
fn arrows(house: &House) -> BTreeMap<&[String], BTreeMap<&[String], BTreeSet<String>>> {
    let mut arrows: BTreeMap<&[String], BTreeMap<&[String], BTreeSet<String>>> = BTreeMap::new();
    for (path, module) in house {
        for used in &module.uses {
            let Some(target) = resolve(house, used, 0) else { continue };
            if !target.starts_with(path) && !path.starts_with(target) {
                let names = arrows.entry(path).or_default().entry(target).or_default();
                names.insert(used.last().cloned().unwrap_or_default());
            }
        }
    }
    arrows
}

/// The file that defines what a path names.
fn resolve<'h>(house: &'h House, path: &[String], depth: usize) -> Option<&'h [String]> {
    let (module, rest) = (0..=path.len()).rev().find_map(|cut| {
        let (module, found) = house.get_key_value(&path[..cut])?;
        Some(((module, found), &path[cut..]))
    })?;
    let (own, module) = module;
    let Some(name) = rest.first() else { return Some(own) };
    if module.defined.contains(name) || name == "*" || depth > 8 {
        return (module.defined.contains(name)).then_some(own.as_slice());
    }
    let handed_on = module.uses.iter().filter(|used| used.len() > 1 && *used != path);
    let mut named = handed_on.filter(|used| used.last().is_some_and(|last| last == name));
    named.find_map(|used| resolve(house, used, depth + 1))
}

/// Sets of files each of which reaches each other one.
fn circles<'h>(arrows: &BTreeMap<&'h [String], BTreeMap<&'h [String], BTreeSet<String>>>) -> Vec<Vec<&'h [String]>> {
    let reach: BTreeMap<&[String], BTreeSet<&[String]>> = arrows
        .keys()
        .map(|from| {
            let mut seen: BTreeSet<&[String]> = BTreeSet::new();
            let mut next = vec![*from];
            while let Some(at) = next.pop() {
                let targets = arrows.get(at).into_iter().flat_map(BTreeMap::keys);
                next.extend(targets.filter(|target| seen.insert(target)));
            }
            (*from, seen)
        })
        .collect();
    let mut left: BTreeSet<&[String]> = reach.keys().copied().filter(|it| reach[it].contains(it)).collect();
    let mut circles = Vec::new();
    while let Some(first) = left.first().copied() {
        let circle: Vec<&[String]> =
            left.iter().copied().filter(|it| reach[first].contains(it) && reach[it].contains(first)).collect();
        left.retain(|it| !circle.contains(it));
        circles.push(circle);
    }
    circles
}

fn describe(
    house: &House,
    arrows: &BTreeMap<&[String], BTreeMap<&[String], BTreeSet<String>>>,
    circle: &[&[String]],
) -> String {
    let mut lines = vec!["- a circle:".to_owned()];
    for from in circle {
        for (to, names) in arrows.get(from).into_iter().flatten().filter(|(to, _)| circle.contains(to)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let show = |path: &[String]| house[path].file.strip_prefix(root()).unwrap().display().to_string();
            lines.push(format!("    {} -> {}: {}", show(from), show(to), names.join(", ")));
        }
    }
    lines.join("\n")
}
