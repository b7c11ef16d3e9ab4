//! One of fail2ban's files: sections, keys and values, each with its line.
//!
//! fail2ban reads with Python's configparser, whose rules no crate has: a value goes on over lines
//! that are indented deeper than its key, with comment lines between; only ` ;` begins a comment
//! behind a value; keys are the same in capitals, sections are not. What it refuses and what can
//! still be understood (a key given twice) is understood and reported.

use std::collections::HashMap;

/// A key with its value. Continuation lines follow after newlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) section: String,
    /// In lower case.
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: usize,
    /// The line of each line of the value.
    pub(crate) lines: Vec<usize>,
}

/// A key or a section that is in the file twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Double {
    pub(crate) section: String,
    pub(crate) key: Option<String>,
    pub(crate) first: usize,
    pub(crate) second: usize,
}

/// A file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ini {
    /// In the order of the file; of a key that is there twice, both.
    pub(crate) entries: Vec<Entry>,
    /// Each once, with its first line.
    pub(crate) sections: Vec<(String, usize)>,
    pub(crate) doubles: Vec<Double>,
}

/// Why a file can't be read: a line, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The text of a file, without a byte order mark, and whether it had one. What is no text is said to be
/// what it is, where that can be seen.
pub(crate) fn text(bytes: &[u8]) -> Result<(String, bool), Mistake> {
    const MARKS: [(&[u8], &str); 8] = [
        (b"\0GITCRYPT", "is encrypted (git-crypt); unlock it with `git-crypt unlock`"),
        (b"$ANSIBLE_VAULT", "is encrypted (Ansible Vault); decrypt it with `ansible-vault decrypt`"),
        (b"Salted__", "is encrypted (OpenSSL); decrypt it"),
        (b"-----BEGIN PGP", "is encrypted or signed (PGP); decrypt it"),
        (b"age-encryption.org/", "is encrypted (age); decrypt it"),
        (b"\x1f\x8b", "is compressed (gzip); unpack it"),
        (b"\xff\xfe", "is UTF-16; save it as UTF-8"),
        (b"\xfe\xff", "is UTF-16; save it as UTF-8"),
    ];
    let mistake = |line, what: String| Mistake { line, what };
    if let Some((_, what)) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(mistake(1, format!("this file {what}, or move it away.")));
    }
    let line_of = |at: usize| 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(mistake(line_of(at), "this file is not text (a byte is 0); move it away.".to_owned()));
    }
    let (bytes, marked) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (rest, true),
        None => (bytes, false),
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        mistake(
            line_of(at),
            format!(
                "the byte 0x{:02x} is not valid UTF-8, and fail2ban skips the whole file for it; save it as UTF-8.",
                bytes[at]
            ),
        )
    })?;
    if let Some(at) = text.find("ENC[AES256_GCM,") {
        return Err(mistake(
            line_of(at),
            "values in this file are encrypted (SOPS); decrypt it with `sops -d`.".to_owned(),
        ));
    }
    // As Python reads lines.
    Ok((text.replace("\r\n", "\n").replace('\r', "\n"), marked))
}

/// Reads a text.
pub(crate) fn parse(text: &str) -> Result<Ini, Mistake> {
    let mut ini = Ini::default();
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut section: Option<String> = None;
    // The value that may go on: the last entry.
    let mut open = false;
    let mut indent = 0;
    for (number, raw) in text.split('\n').enumerate() {
        let line = number + 1;
        let (value, commented) = without_comment(raw);
        if value.is_empty() {
            if open
                && !commented
                && let Some(entry) = ini.entries.last_mut()
            {
                entry.value.push('\n');
                entry.lines.push(line);
            }
            continue;
        }
        let depth = raw.chars().take_while(|c| c.is_whitespace()).count();
        if open
            && depth > indent
            && let Some(entry) = ini.entries.last_mut()
        {
            entry.value.push('\n');
            entry.value.push_str(value);
            entry.lines.push(line);
            continue;
        }
        indent = depth;
        if let Some(name) = header(value) {
            open = false;
            match ini.sections.iter().find(|(known, _)| known == name) {
                Some((_, first)) if name != "DEFAULT" => {
                    ini.doubles.push(Double { section: name.to_owned(), key: None, first: *first, second: line });
                }
                Some(_) => {}
                None => ini.sections.push((name.to_owned(), line)),
            }
            section = Some(name.to_owned());
            continue;
        }
        let Some(section) = &section else {
            return Err(Mistake {
                line,
                what: "there is no [section] before this line; write one, such as [DEFAULT].".to_owned(),
            });
        };
        let Some(at) = value.find(['=', ':']).filter(|at| *at > 0) else {
            return Err(Mistake {
                line,
                what: format!(
                    "'{}' is not a KEY = VALUE; correct the line, or indent it if the value before it goes on.",
                    shortened(value)
                ),
            });
        };
        let key = value[..at].trim_end().to_lowercase();
        if let Some(first) = seen.insert((section.clone(), key.clone()), line) {
            ini.doubles.push(Double { section: section.clone(), key: Some(key.clone()), first, second: line });
        }
        open = true;
        let value = value[at + 1..].trim().to_owned();
        ini.entries.push(Entry { section: section.clone(), key, value, line, lines: vec![line] });
    }
    for entry in &mut ini.entries {
        entry.value.truncate(entry.value.trim_end().len());
    }
    Ok(ini)
}

/// The line without its comment, and whether there was one.
fn without_comment(line: &str) -> (&str, bool) {
    let trimmed = line.trim();
    if trimmed.starts_with(['#', ';']) {
        return ("", true);
    }
    let comment = line
        .char_indices()
        .find(|(at, c)| *c == ';' && line[..*at].chars().next_back().is_none_or(char::is_whitespace));
    match comment {
        Some((at, _)) => (line[..at].trim(), true),
        None => (trimmed, false),
    }
}

/// `[NAME]`, up to the last bracket of the line.
fn header(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('[')?;
    inner.rfind(']').filter(|end| *end > 0).map(|end| &inner[..end])
}

/// Enough of a text to find it by.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, String, usize)> {
        let ini = parse(text).unwrap();
        ini.entries.into_iter().map(|entry| (entry.section, entry.key, entry.value, entry.line)).collect()
    }

    fn value(text: &str) -> String {
        values(text).pop().unwrap().2
    }

    #[test]
    fn keys_values_comments_and_continuations_are_read_as_pythons_configparser_reads_them() {
        assert_eq!(value("[a]\nMaxRetry: 5\n"), "5");
        assert_eq!(values("[a]\nMaxRetry : 5\n")[0].1, "maxretry");
        assert_eq!(value("[a]\nx = ::1 2001:db8::/32"), "::1 2001:db8::/32");
        assert_eq!(value("[a]\nx = 1 ; comment"), "1");
        assert_eq!(value("[a]\nx = 1;2"), "1;2");
        assert_eq!(value("[a]\nx = -1  # permanent"), "-1  # permanent");
        assert_eq!(value("[a]\nx = 1\n# comment\n    2\n  ; comment\n\t3\n"), "1\n2\n3");
        assert_eq!(value("[a]\nx = 1\n\n  2"), "1\n\n2", "an empty line does not end a value");
        assert_eq!(value("[a]\nx =\n  2"), "\n2");
        assert_eq!(value("[a]\r\nx = 1\r\n"), "1");
        assert_eq!(values("[a]\n  x = 1\n  y = 2\n   z = 3").len(), 2, "only deeper lines go on");
        assert_eq!(value("[a]\n  x = 1\n  y = 2\n   z = 3"), "2\nz = 3");
        assert_eq!(
            values("[a] ; c\nx=1\n[ b ] # c\nx=2").iter().map(|v| v.0.as_str()).collect::<Vec<_>>(),
            ["a", " b "]
        );
        assert_eq!(parse("[a]\nx = [b]\n").unwrap().sections.len(), 1);
        assert_eq!(parse("; c\n# c\n\n").unwrap(), Ini::default());
        assert_eq!(parse("[a]\nx = 1\n  2\n  3").unwrap().entries[0].lines, [2, 3, 4]);
    }

    #[test]
    fn what_is_there_twice_is_reported_with_both_lines() {
        let ini = parse("[a]\nx = 1\n[b]\nx = 1\n[a]\nX = 2\n[DEFAULT]\ny = 1\n[DEFAULT]\nz = 1").unwrap();
        let doubles: Vec<_> = ini.doubles.iter().map(|d| (d.key.as_deref(), d.first, d.second)).collect();
        assert_eq!(doubles, [(None, 1, 5), (Some("x"), 2, 6)]);
        assert_eq!(ini.entries.len(), 5);
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_line() {
        for (text, line, says) in [
            ("x = 1", 1, "no [section]"),
            ("\n\nenabled = true\n[a]", 3, "no [section]"),
            ("[a]\nfoo\n", 2, "'foo' is not a KEY = VALUE"),
            ("[a]\n= 1\n", 2, "is not a KEY = VALUE"),
            ("[]\nx = 1", 1, "no [section]"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert_eq!(mistake.line, line, "{text}");
            assert!(mistake.what.contains(says), "{text}: {}", mistake.what);
        }
        for (bytes, line, says) in [
            (&b"\0GITCRYPT\0abc"[..], 1, "git-crypt unlock"),
            (b"$ANSIBLE_VAULT;1.1;AES256\n6162", 1, "ansible-vault"),
            (b"[a]\nx = 1\0", 2, "is not text"),
            (b"[a]\n# f\xfcr", 2, "0xfc is not valid UTF-8"),
            (b"\xff\xfe[\0a\0", 1, "UTF-16"),
            (b"\x1f\x8b\x08", 1, "gzip"),
            (b"[a]\nx = ENC[AES256_GCM,data:abc]", 2, "sops -d"),
        ] {
            let mistake = text_of(bytes).unwrap_err();
            assert_eq!(mistake.line, line);
            assert!(mistake.what.contains(says), "{}", mistake.what);
        }
        assert_eq!(text_of(b"\xef\xbb\xbf[a]"), Ok(("[a]".to_owned(), true)));
    }

    use super::text as text_of;
}
