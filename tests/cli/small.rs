//! The small commands, and wrong usage.

use std::process::Stdio;

use crate::support::{folder, program, root, run, wait};

#[test]
fn wrong_usage_exits_2() {
    for args in [
        &["serve"][..],
        &["explain"],
        &["explain", "GET", "http://a.test/", "--from-ip", "nobody"],
        &["explain", "GET", "a.test/x"],
        &["explain", "GET", "http://a.test/", "-H", "nonsense"],
        &["routes", "-o", "xml"],
        &["completions", "tcl"],
    ] {
        let done = run(root(), args).exits(2);
        assert!(done.out.is_empty() && !done.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_fault() {
    for args in [&["schema"][..], &["completions", "zsh"], &["routes", "-o", "json"], &["check"]] {
        let it = folder(&[]);
        let mut child = program(it.path(), args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(wait(&mut child).code(), Some(0), "{args:?}");
    }
}
