//! wardend-fleet: see [`wardend_fleet`].

fn main() -> std::process::ExitCode {
    wardend_fleet::main()
}
