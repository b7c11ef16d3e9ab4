//! Where lines go: to standard output, or through a pager as systemctl has it.
//!
//! The pager is $SYSTEMD_PAGER or $PAGER, else less or more, and only where a person looks: both
//! ends are terminals. less starts with the options that systemctl gives it (`FRSXMK`), so a short
//! list stays on the screen and less is gone at once. Whoever runs wardenctl through sudo gets no
//! other pager than less, in its secure mode, because a shell in it would be root's.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

static PAGER: Mutex<Option<Child>> = Mutex::new(None);

/// Writes to the pager if there is one, else to standard output.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut pager = PAGER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match pager.as_mut().and_then(|child| child.stdin.as_mut()) {
        Some(pipe) => pipe.write_all(text.as_bytes()),
        None => io::stdout().write_all(text.as_bytes()),
    }
}

/// Starts the pager, if there is to be one. Without one that starts, lines go to standard output.
pub(super) fn open() {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() || env::var_os("TERM").is_some_and(|is| is == "dumb") {
        return;
    }
    let secure = secure();
    let wanted = ["SYSTEMD_PAGER", "PAGER"].iter().find_map(|name| env::var(name).ok());
    let Some(pagers) = pagers(wanted.as_deref(), secure) else { return };
    let spawned = pagers.iter().find_map(|words| spawn(words, secure).ok());
    *PAGER.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = spawned;
}

/// Lets the reader read to the end: the pager decides when wardenctl is over.
pub(super) fn close() {
    let child = PAGER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(mut child) = child {
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

/// The command lines to try, in their order; none if there is to be no pager.
fn pagers(wanted: Option<&str>, secure: bool) -> Option<Vec<Vec<String>>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let usual = || vec![words("less"), words("more")];
    match wanted.map(words) {
        Some(line) if line.is_empty() || line == ["cat"] => None,
        _ if secure => Some(vec![words("less")]),
        Some(line) => Some(std::iter::once(line).chain(usual()).collect()),
        None => Some(usual()),
    }
}

/// Whether the pager must not be able to run anything.
fn secure() -> bool {
    match env::var("SYSTEMD_PAGERSECURE") {
        Ok(value) => !["0", "no", "n", "false", "f", "off"].contains(&value.to_ascii_lowercase().as_str()),
        Err(_) => env::var_os("SUDO_UID").is_some() || env::var_os("PKEXEC_UID").is_some(),
    }
}

fn spawn(words: &[String], secure: bool) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let or = |name: &str, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.env("LESS", or("SYSTEMD_LESS", "FRSXMK")).env("LESSCHARSET", or("SYSTEMD_LESSCHARSET", "utf-8"));
    if secure {
        command.env("LESSSECURE", "1");
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_is_chosen_as_systemctl_chooses_it() {
        let lines = |wanted, secure| {
            pagers(wanted, secure).map(|pagers| pagers.iter().map(|words| words.join(" ")).collect::<Vec<_>>())
        };
        let of = |lines: &[&str]| Some(lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(lines(None, false), of(&["less", "more"]));
        assert_eq!(lines(Some("most -w"), false), of(&["most -w", "less", "more"]));
        assert_eq!(lines(Some(""), false), None);
        assert_eq!(lines(Some("cat"), false), None);
        assert_eq!(lines(Some("vim -"), true), of(&["less"]), "nobody gets root's shell by $PAGER");
    }
}
