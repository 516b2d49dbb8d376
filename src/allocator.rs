//! Has the allocator give back what a burst of connections took.
//!
//! mimalloc reads its options from the environment, before `main`: so the program starts itself anew, in place, with
//! those that are not set. What a thread freed for another is else kept until that one allocates again, which one
//! that has nothing to do never does: tens of megabytes after some thousand connections, for as long as it is quiet.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Pages that are full, and pages that got room again, belong to no thread: whoever frees the last of one gives it back.
const OPTIONS: [(&str, &str); 2] = [("MIMALLOC_PAGE_FULL_RETAIN", "0"), ("MIMALLOC_PAGE_MAX_RECLAIM", "0")];

/// Starts the program anew with the options, unless the environment says something of each already.
///
/// Where that cannot be, it goes on without them.
pub(crate) fn set_options() {
    let missing: Vec<_> = OPTIONS.into_iter().filter(|(name, _)| env::var_os(name).is_none()).collect();
    let Some(program) = env::current_exe().ok().filter(|_| !missing.is_empty()) else { return };
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
    // Comes back only where it failed.
    let _ = Command::new(program).arg0(name).args(arguments).envs(missing).exec();
}
