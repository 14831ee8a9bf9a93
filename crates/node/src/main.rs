//! The program `tributary`.

use std::process::ExitCode;

fn main() -> ExitCode {
    heap::share();
    node::cli::run()
}
