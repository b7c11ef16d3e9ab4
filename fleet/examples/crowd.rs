//! Many machines of a fleet in one process; see `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wardend_fleet::crowd::main()
}
