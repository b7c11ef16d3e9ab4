//! The metrics as a file for node_exporter's textfile collector, whose parser knows the older text format of
//! Prometheus only: no `info` and no `stateset`, and counters by their whole name.

use std::path::Path;

use anyhow::Context;

use crate::util::files;

/// OpenMetrics text in the text format of Prometheus.
pub(super) fn prometheus(open: &str) -> String {
    // The name of the family that the lines are about, and its name there.
    let mut renamed = (String::new(), String::new());
    let mut text = String::new();
    for line in open.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "counter" => ("_total", "counter"),
                kind => ("", kind),
            };
            renamed = (name.to_owned(), format!("{name}{suffix}"));
            text.push_str(&format!("# TYPE {} {kind}\n", renamed.1));
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let help = help.strip_prefix(&renamed.0).unwrap_or(help);
            text.push_str(&format!("# HELP {}{help}\n", renamed.1));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Whether the daemon answers: what an alert looks at.
pub(super) fn up(is_up: bool) -> String {
    format!("# HELP wardend_up Whether wardend is running.\n# TYPE wardend_up gauge\nwardend_up {}\n", u8::from(is_up))
}

/// Replaces the file. (The collector reads what ends in `.prom`, and an unfinished one does not.)
pub(super) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    files::replace(file, text.as_bytes(), 0o644).with_context(|| format!("{} can't be written", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_is_left_that_the_older_format_does_not_know() {
        let open = "# TYPE wardend_build info\n# HELP wardend_build The version.\nwardend_build_info{version=\"1\"} 1\n\
                    # TYPE wardend_leaks counter\n# HELP wardend_leaks Leaks.\nwardend_leaks_total 3\n\
                    # TYPE wardend_lag_seconds gauge\n# UNIT wardend_lag_seconds seconds\n# HELP wardend_lag_seconds Lag.\nwardend_lag_seconds 0.5\n\
                    # TYPE wardend_firewall_state stateset\n# HELP wardend_firewall_state State.\nwardend_firewall_state{wardend_firewall_state=\"up\"} 1\n# EOF\n";
        let expected = "# TYPE wardend_build_info gauge\n# HELP wardend_build_info The version.\nwardend_build_info{version=\"1\"} 1\n\
                        # TYPE wardend_leaks_total counter\n# HELP wardend_leaks_total Leaks.\nwardend_leaks_total 3\n\
                        # TYPE wardend_lag_seconds gauge\n# HELP wardend_lag_seconds Lag.\nwardend_lag_seconds 0.5\n\
                        # TYPE wardend_firewall_state gauge\n# HELP wardend_firewall_state State.\nwardend_firewall_state{wardend_firewall_state=\"up\"} 1\n";
        assert_eq!(prometheus(open), expected);
    }

    #[test]
    fn a_file_is_replaced_whole_and_may_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("wardend.prom");
        for text in [up(true), up(false)] {
            write(&file, &text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write(Path::new("/nonexistent/x.prom"), "").unwrap_err().to_string().contains("can't be written"));
    }
}
