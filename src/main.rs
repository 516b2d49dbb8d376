//! The `tidegate` program: the library with the built-in plugins.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
mod allocator;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(all(feature = "jemalloc", not(feature = "mimalloc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    #[cfg(feature = "mimalloc")]
    allocator::set_options();
    tidegate::Tidegate::builder().plugins(tidegate_plugins::ALL).run()
}
