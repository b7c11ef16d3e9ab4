//! wardend: see [`wardend::daemon`].

fn main() -> std::process::ExitCode {
    wardend::daemon::main()
}
