//! The handler `mail`: one mail a batch, handed to the local mail system through sendmail's interface.
//!
//! The mail is written to sendmail's standard input, with its recipients in its head: nothing is a word of
//! a command line.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use super::{
    received::Received,
    text::{body, title},
};

const SENDMAIL: &str = "/usr/sbin/sendmail";
const SETTINGS: [&str; 2] = ["to", "from"];

/// Sends the batch on standard input.
pub(super) fn main() -> anyhow::Result<()> {
    let batch = Received::read()?;
    batch.expect_settings(&SETTINGS)?;
    let addresses = Addresses { to: batch.setting("to").unwrap_or("root"), from: batch.setting("from") };
    let mail = compose(&addresses, &title(&batch), &batch.head.host, &batch.head.key, &body(&batch))?;
    send(&mail)
}

/// Who writes to whom.
pub(super) struct Addresses<'a> {
    pub(super) to: &'a str,
    pub(super) from: Option<&'a str>,
}

/// Hands a mail to sendmail.
pub(super) fn send(mail: &str) -> anyhow::Result<()> {
    let mut sendmail =
        // What Exim leaves to a process in the background ends with the unit, and the mail would wait for its queue.
        Command::new(SENDMAIL).args(["-t", "-i", "-odf"]).stdin(Stdio::piped()).spawn().with_context(|| {
            format!("{SENDMAIL} can't be started; install a mail system such as postfix, or msmtp-mta")
        })?;
    let written = sendmail.stdin.take().map(|mut stdin| stdin.write_all(mail.as_bytes()));
    let status = sendmail.wait().with_context(|| format!("{SENDMAIL} can't be waited for"))?;
    if !status.success() {
        bail!("{SENDMAIL} did not take the mail ({status}); it has written why above.");
    }
    written.unwrap_or(Ok(())).with_context(|| format!("{SENDMAIL} did not read the mail"))
}

/// A mail, as RFC 5322 has it.
pub(super) fn compose(
    addresses: &Addresses<'_>,
    subject: &str,
    host: &str,
    key: &str,
    body: &str,
) -> anyhow::Result<String> {
    for (name, value) in [("to", addresses.to), ("from", addresses.from.unwrap_or("root"))] {
        if value.trim().is_empty() || value.chars().any(char::is_control) || value.len() > 900 {
            bail!(
                "'{name}' in [settings] is not a valid list of mail addresses; write it as \"root, admin@example.org\"."
            );
        }
    }
    let mut mail = String::new();
    let _ = writeln!(mail, "To: {}", addresses.to);
    if let Some(from) = addresses.from {
        let _ = writeln!(mail, "From: {from}");
    }
    let subject: String = subject.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(200).collect();
    let _ = writeln!(mail, "Subject: {subject}");
    let _ = writeln!(mail, "Date: {}", jiff::Zoned::now().strftime("%a, %d %b %Y %H:%M:%S %z"));
    // A batch that is delivered again is the same message to the mail system.
    let _ = writeln!(mail, "Message-ID: <wardend.{key}@{host}>");
    mail.push_str(
        "Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n",
    );
    for line in body.lines() {
        // RFC 5322 allows 998 bytes; what is longer would be broken somewhere on the way.
        let mut rest = line;
        while rest.len() > 900 {
            let end = (1..=900).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
            let _ = writeln!(mail, "{}", &rest[..end]);
            rest = &rest[end..];
        }
        let _ = writeln!(mail, "{rest}");
    }
    Ok(mail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::text::tests::hostile;

    #[test]
    fn nothing_of_a_record_becomes_a_header_and_a_batch_has_one_message_id() {
        let batch = hostile();
        let compose = || {
            let addresses = Addresses { to: "root, admin@example.org", from: None };
            compose(&addresses, &title(&batch), &batch.head.host, &batch.head.key, &body(&batch)).unwrap()
        };
        let mail = compose();
        let (head, body) = mail.split_once("\n\n").unwrap();
        let names: Vec<&str> = head.lines().map(|line| line.split_once(": ").unwrap().0).collect();
        let expected = ["To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];
        assert_eq!(names[..7], expected);
        assert_eq!(names.len(), 8);
        assert!(head.contains("Message-ID: <wardend.0123@web1>"));
        assert!(!body.lines().any(|line| line.starts_with("Bcc") || line == "."));
        assert!(mail.lines().all(|line| line.len() <= 998));
    }

    #[test]
    fn an_address_can_not_bring_a_header_of_its_own() {
        for to in ["root\nBcc: x@example.org", "", "\u{1b}"] {
            assert!(compose(&Addresses { to, from: None }, "s", "h", "k", "b").is_err(), "{to:?}");
        }
    }

    #[test]
    fn long_lines_are_broken_between_characters() {
        let body = "ä".repeat(2000);
        let mail = compose(&Addresses { to: "root", from: Some("wardend@h") }, "s", "h", "k", &body).unwrap();
        assert!(mail.lines().all(|line| line.len() <= 998));
        assert_eq!(mail.matches('ä').count(), 2000);
    }
}
