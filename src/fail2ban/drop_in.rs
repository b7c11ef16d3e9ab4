//! The drop-in that an import writes: only what was set there, each value with the line it is from.

use std::fmt::Write as _;

use super::converted::Conversion;
use crate::util::text::printable;

/// Its name in wardend.conf.d.
pub(crate) const NAME: &str = "50-fail2ban.conf";

/// The text; none if no jail was converted.
pub(crate) fn text(all: &Conversion, directory: &str) -> Option<String> {
    if all.converted.is_empty() {
        return None;
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    let line = |text: &str, from: &str| (text.to_owned(), from.to_owned());
    let list = |lines: &mut Vec<(String, String)>, entries: &[super::ignore::Entry]| {
        if !entries.is_empty() {
            lines.push(line("ignoreip = [", ""));
            for entry in entries {
                lines.push(line(&format!("    \"{}\",", entry.text), &entry.place.to_string()));
            }
            lines.push(line("]", ""));
        }
    };
    if !all.shared_ignored.is_empty() {
        lines.push(line("[default]", ""));
        list(&mut lines, &all.shared_ignored);
        lines.push(line("", ""));
    }
    for (index, jail) in all.converted.iter().enumerate() {
        if index > 0 {
            lines.push(line("", ""));
        }
        lines.push(line(&format!("[jail.{}]", jail.name), &jail.place.to_string()));
        if jail.name != "sshd" {
            lines.push(line("enabled = true", ""));
        }
        if jail.name != jail.filter || jail.name != "sshd" {
            lines.push(line(&format!("filter = \"{}\"", jail.filter), ""));
        }
        for setting in &jail.settings {
            lines.push(line(&format!("{} = {}", setting.key, setting.value), &setting.from));
        }
        list(&mut lines, &jail.ignored);
    }
    let mut text = format!(
        "# From {}, by `wardenctl import fail2ban`, whose report says what differs.\n# Each value is followed by the file and line that it is from.\n\n",
        printable(directory)
    );
    for (line, from) in lines {
        if from.is_empty() {
            let _ = writeln!(text, "{line}");
        } else {
            let _ = writeln!(text, "{line:<31} # {}", printable(&from));
        }
    }
    Some(text)
}
