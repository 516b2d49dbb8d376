//! Who may come in: a list of `user:hash` lines, or a map of users to hashes.

use std::collections::HashMap;

use tidegate_plugin::{BuildError, Data};

use super::hash::{Hash, HashCost};

/// Users and the hashes of their passwords; `None`: theirs is too dear, so they cannot come in.
pub(super) type Users = HashMap<Box<str>, Option<Hash>>;

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) users: Users,
    /// Where a hash is too dear: line, or user.
    pub(super) too_dear: Vec<String>,
    max: HashCost,
}

const MAX_USERS: usize = 100_000;

/// Reads a file of htpasswd. Errors name the line, never what stands in it.
pub(super) fn read_list(text: &[u8], max: HashCost) -> Result<Read, BuildError> {
    let text = std::str::from_utf8(text).map_err(|_| BuildError::invalid("users", "is not UTF-8"))?;
    let mut read = Read { max, ..Read::default() };
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let broken = |why: &str| BuildError::invalid("users", format!("line {}: {why}", index + 1));
        let (user, hash) = line.split_once(':').ok_or_else(|| broken("is not `user:hash`"))?;
        // What stands after a second colon is a comment of htpasswd's.
        let hash = Hash::parse(hash.split(':').next().unwrap_or(hash)).map_err(broken)?;
        read.add(user, hash, || format!("line {}", index + 1)).map_err(broken)?;
    }
    read.checked()
}

/// Reads a Secret whose keys are users and whose values are hashes.
pub(super) fn read_map(data: &Data, max: HashCost) -> Result<Read, BuildError> {
    let mut read = Read { max, ..Read::default() };
    for (user, hash) in data {
        let broken = |why: &str| BuildError::invalid("users", format!("the hash of `{user}` {why}"));
        let hash = std::str::from_utf8(hash).map_err(|_| broken("is not UTF-8"))?;
        read.add(user, Hash::parse(hash.trim()).map_err(broken)?, || format!("`{user}`")).map_err(broken)?;
    }
    read.checked()
}

// === impl Read ===

impl Read {
    fn add(&mut self, user: &str, hash: Hash, place: impl Fn() -> String) -> Result<(), &'static str> {
        // RFC 7617 section 2: a user's name has neither colon nor control characters.
        if user.is_empty() || user.chars().any(|character| character == ':' || character.is_control()) {
            return Err("has no good user name");
        }
        let is_within = hash.is_within(self.max);
        if !is_within {
            self.too_dear.push(place());
        }
        // As Apache reads it, the first of a name counts: a second one does not replace one that is too dear.
        self.users.entry(user.into()).or_insert_with(|| is_within.then_some(hash));
        Ok(())
    }

    fn checked(self) -> Result<Self, BuildError> {
        let HashCost { bcrypt, rounds } = self.max;
        match self.users.len() {
            0 => Err(BuildError::invalid("users", "names nobody, so that nobody could come in")),
            count if count > MAX_USERS => {
                Err(BuildError::invalid("users", format!("has {count} users, more than {MAX_USERS}")))
            }
            _ if self.users.values().all(Option::is_none) => Err(BuildError::invalid(
                "users",
                format!("has dearer hashes only than `maxHashCost` allows (bcrypt {bcrypt}, {rounds} rounds)"),
            )),
            _ => Ok(self),
        }
    }

    /// What is to be said of hashes that are too dear.
    pub(super) fn finding(&self) -> Option<String> {
        let HashCost { bcrypt, rounds } = self.max;
        let first = self.too_dear.first()?;
        let more = match self.too_dear.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        Some(format!(
            "{first}{more}: a dearer hash than `maxHashCost` allows (bcrypt {bcrypt}, {rounds} rounds), whose user cannot come in"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: HashCost = HashCost { bcrypt: 12, rounds: 100_000 };
    const SHA: &str = "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=";

    #[test]
    fn lists_have_comments_and_empty_lines() {
        let users = read_list(format!("# staff\n\nann:{SHA}:Ann\r\nbob:{SHA}\n").as_bytes(), MAX).unwrap().users;
        assert_eq!(users.len(), 2);
        assert!(users["ann"].as_ref().unwrap().verifies("myPassword"));
    }

    #[test]
    fn errors_name_the_line_and_never_its_contents() {
        for (text, line) in [("ann:topsecret", "line 1"), ("\nann", "line 2"), (":{SHA}x", "line 1")] {
            let error = read_list(text.as_bytes(), MAX).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(line) && !error.contains("topsecret"), "{error}");
        }
        assert!(read_list(b"# nobody\n", MAX).is_err());
    }

    #[test]
    fn a_user_whose_hash_is_too_dear_is_told_and_cannot_be_named_again() {
        let dear = "$5$rounds=200000$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
        let read = read_list(format!("ann:{dear}\nann:{SHA}\nbob:{SHA}\neve:{dear}\n").as_bytes(), MAX).unwrap();
        assert!(read.users["ann"].is_none() && read.users["bob"].is_some() && read.users["eve"].is_none());
        let told = read.finding().unwrap();
        assert!(told.starts_with("line 1 and 1 more: ") && !told.contains("salt"), "{told}");
        let raised = HashCost { rounds: 200_000, ..MAX };
        let read = read_list(format!("ann:{dear}").as_bytes(), raised).unwrap();
        assert!(read.users["ann"].is_some() && read.finding().is_none());
        let error = read_list(format!("ann:{dear}").as_bytes(), MAX).err().unwrap().to_string();
        assert!(error.contains("maxHashCost") && !error.contains("salt"), "{error}");
    }
}
