//! wardenctl: see [`wardend::ctl`].

fn main() -> std::process::ExitCode {
    wardend::ctl::main()
}
