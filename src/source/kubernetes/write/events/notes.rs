//! What is to be told once, and in which order what is to be told is told.
//!
//! The API server takes few events a second, so whoever has many keeps the others waiting. Namespaces have turns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::capacity::may_take;
use crate::resources::note::Note;
use crate::turns::Turns;

/// Notes that may wait.
const MAX_NOTES: usize = 256;
/// Percent of the room for notes that is free which no namespace gets.
const RESERVE: usize = 25;
/// Findings told for one state of the input: some minutes of events.
const MAX_FRESH: usize = 1000;
/// Those of one namespace.
pub(super) const MAX_OF_NAMESPACE: usize = 100;

/// Queue of notes to write as events.
#[derive(Debug)]
pub(in crate::source::kubernetes) struct Notes {
    waiting: Mutex<Turns<Note>>,
    pushed: Notify,
}

// === impl Notes ===

impl Default for Notes {
    fn default() -> Self {
        Self { waiting: Mutex::new(Turns::new(1)), pushed: Notify::new() }
    }
}

impl Notes {
    /// Adds a note, unless there is no room for one more of its namespace; says whether there was.
    pub(in crate::source::kubernetes) fn push(&self, note: Note) -> bool {
        let mut waiting = self.lock();
        let left = MAX_NOTES.saturating_sub(waiting.len());
        let has_room = left > 0 && may_take(waiting.len_of(&note.namespace), left, RESERVE);
        if has_room {
            waiting.push(&Arc::clone(&note.namespace), Instant::now(), note);
            self.pushed.notify_one();
        }
        has_room
    }

    /// Takes the note whose turn it is out.
    pub(super) fn take(&self) -> Option<Note> {
        let mut waiting = self.lock();
        let turn = waiting.next(Instant::now())?;
        waiting.done(&turn.group);
        Some(turn.work)
    }

    /// Takes the note whose turn it is out, as soon as there is one.
    pub(super) async fn next(&self) -> Note {
        loop {
            if let Some(note) = self.take() {
                return note;
            }
            self.pushed.notified().await;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Turns<Note>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The notes by namespace in turns, those behind `last` first: the namespaces before it had theirs. No namespace gets
/// more than [`MAX_OF_NAMESPACE`].
pub(super) fn in_turns(by_namespace: BTreeMap<Arc<str>, Vec<Note>>, last: &str) -> Vec<Note> {
    let (before, behind): (Vec<_>, Vec<_>) = by_namespace.into_iter().partition(|(namespace, _)| &**namespace <= last);
    let mut namespaces: Vec<_> =
        behind.into_iter().chain(before).map(|(_, notes)| notes.into_iter().take(MAX_OF_NAMESPACE)).collect();
    let mut ordered = Vec::new();
    while !namespaces.is_empty() && ordered.len() < MAX_FRESH {
        namespaces.retain_mut(|notes| notes.next().map(|note| ordered.push(note)).is_some());
    }
    ordered.truncate(MAX_FRESH);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::ObjectName;

    fn note(namespace: &str, generation: u64) -> Note {
        Note::live(&ObjectName::new(namespace, "web"), generation, std::time::Duration::ZERO)
    }

    fn many(namespace: &str, count: u64) -> (Arc<str>, Vec<Note>) {
        (namespace.into(), (0..count).map(|generation| note(namespace, generation)).collect())
    }

    #[test]
    fn a_namespace_with_many_findings_keeps_nobody_waiting() {
        let told = in_turns([many("a", 5000), many("b", 2), many("c", 1)].into(), "");
        let namespaces: Vec<&str> = told.iter().take(6).map(|note| &*note.namespace).collect();
        assert_eq!(namespaces, ["a", "b", "c", "a", "b", "a"]);
        assert_eq!(told.len(), MAX_OF_NAMESPACE + 3);
    }

    #[test]
    fn turns_go_on_where_they_were_left() {
        let told = in_turns([many("a", 2), many("b", 1), many("c", 1)].into(), "a");
        let namespaces: Vec<&str> = told.iter().map(|note| &*note.namespace).collect();
        assert_eq!(namespaces, ["b", "c", "a", "a"]);
    }

    #[test]
    fn there_is_no_end_of_namespaces_but_of_what_is_told() {
        let names: Vec<String> = (0..2000).map(|index| format!("n{index:04}")).collect();
        let told = in_turns(names.iter().map(|name| many(name, 3)).collect(), "");
        assert_eq!(told.len(), MAX_FRESH);
    }

    #[test]
    fn a_flood_of_notes_leaves_room_and_turns_to_others() {
        let notes = Notes::default();
        let taken = (0..1000).filter(|generation| notes.push(note("a", *generation))).count();
        assert_eq!(taken, MAX_NOTES * 3 / 4);
        assert!(notes.push(note("b", 1)));
        let first: Vec<_> = (0..3).map(|_| notes.take().unwrap().namespace).collect();
        assert_eq!(first, ["a".into(), "b".into(), "a".into()] as [Arc<str>; 3]);
    }
}
