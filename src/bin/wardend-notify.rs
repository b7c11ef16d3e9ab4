//! wardend-notify: see [`wardend::notify`].

fn main() -> std::process::ExitCode {
    wardend::notify::main()
}
