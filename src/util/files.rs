//! Files that others read while they are written.

use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Replaces a file at once, so that nobody reads half of it. The name of the new one begins with a dot
/// until it is whole.
pub(crate) fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(file, bytes, mode, false)
}

/// As [`replace`], and what the file then has survives a power failure: it has all of the new content or all of
/// the old.
pub(crate) fn replace_durably(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(file, bytes, mode, true)
}

fn write(file: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = Permissions::from_mode(mode);
    let mut new = tempfile::Builder::new().prefix(".wardend-").permissions(permissions).tempfile_in(directory)?;
    new.write_all(bytes)?;
    if durable {
        new.as_file().sync_data()?;
    }
    new.persist(file)?;
    Ok(())
}
