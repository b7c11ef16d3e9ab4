//! wardend-file: see [`wardend::file`].

fn main() -> std::process::ExitCode {
    wardend::file::main()
}
