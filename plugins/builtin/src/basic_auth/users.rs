//! Who may come in: a list of `user:hash` lines, or a map of users to hashes.

use std::collections::HashMap;

use tidegate_plugin::{BuildError, Data};

use super::hash::Hash;

/// Users and the hashes of their passwords.
pub(super) type Users = HashMap<Box<str>, Hash>;

const MAX_USERS: usize = 100_000;

/// Reads a file of htpasswd. Errors name the line, never what stands in it.
pub(super) fn read_list(text: &[u8]) -> Result<Users, BuildError> {
    let text = std::str::from_utf8(text).map_err(|_| BuildError::invalid("users", "is not UTF-8"))?;
    let mut users = Users::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let broken = |why: &str| BuildError::invalid("users", format!("line {}: {why}", index + 1));
        let (user, hash) = line.split_once(':').ok_or_else(|| broken("is not `user:hash`"))?;
        // What stands after a second colon is a comment of htpasswd's.
        let hash = Hash::parse(hash.split(':').next().unwrap_or(hash)).map_err(broken)?;
        add(&mut users, user, hash).map_err(broken)?;
    }
    checked(users)
}

/// Reads a Secret whose keys are users and whose values are hashes.
pub(super) fn read_map(data: &Data) -> Result<Users, BuildError> {
    let mut users = Users::new();
    for (user, hash) in data {
        let broken = |why: &str| BuildError::invalid("users", format!("the hash of `{user}` {why}"));
        let hash = std::str::from_utf8(hash).map_err(|_| broken("is not UTF-8"))?;
        add(&mut users, user, Hash::parse(hash.trim()).map_err(broken)?).map_err(broken)?;
    }
    checked(users)
}

fn add(users: &mut Users, user: &str, hash: Hash) -> Result<(), &'static str> {
    // RFC 7617 section 2: a user's name has neither colon nor control characters.
    if user.is_empty() || user.chars().any(|character| character == ':' || character.is_control()) {
        return Err("has no good user name");
    }
    // As Apache reads it, the first of a name counts.
    users.entry(user.into()).or_insert(hash);
    Ok(())
}

fn checked(users: Users) -> Result<Users, BuildError> {
    match users.len() {
        0 => Err(BuildError::invalid("users", "names nobody, so that nobody could come in")),
        count if count > MAX_USERS => {
            Err(BuildError::invalid("users", format!("has {count} users, more than {MAX_USERS}")))
        }
        _ => Ok(users),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=";

    #[test]
    fn lists_have_comments_and_empty_lines() {
        let users = read_list(format!("# staff\n\nann:{SHA}:Ann\r\nbob:{SHA}\n").as_bytes()).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users["ann"].verifies("myPassword"));
    }

    #[test]
    fn errors_name_the_line_and_never_its_contents() {
        for (text, line) in [("ann:topsecret", "line 1"), ("\nann", "line 2"), (":{SHA}x", "line 1")] {
            let error = read_list(text.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(line) && !error.contains("topsecret"), "{error}");
        }
        assert!(read_list(b"# nobody\n").is_err());
    }
}
