//! Holds the core to what it says of itself.

use std::{fs, path::Path};

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let mut read = 0;
    for file in fs::read_dir(folder).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        if name == "purity.rs" || name.starts_with("tests") {
            continue;
        }
        read += 1;
        let text = fs::read_to_string(file.path()).unwrap();
        for impure in
            ["tokio", "zbus", "async_nats", "std::fs", "std::env", "std::thread", "SystemTime", "Instant", "async "]
        {
            let found = text.lines().find(|line| line.contains(impure) && !line.trim_start().starts_with("//"));
            assert_eq!(found, None, "{name} uses {impure}");
        }
    }
    assert!(read >= 7);
}
