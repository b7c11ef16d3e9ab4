//! wardend-cut: see [`wardend::cut`].

fn main() -> std::process::ExitCode {
    wardend::cut::main()
}
