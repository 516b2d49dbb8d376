//! tidegate with a plugin of one's own: the same command line, one plugin more.

use std::process::ExitCode;

use tidegate::Tidegate;
use tidegate_example::Maintenance;

fn main() -> ExitCode {
    Tidegate::builder().plugins(tidegate_plugins::ALL).plugin::<Maintenance>().run()
}
