//! The handler `webhook`: one HTTP request a batch, sent by curl.
//!
//! The address and what proves who asks are credentials of the unit (`LoadCredential=`), and reach curl as
//! its configuration on standard input, the body as a file: nothing of them, or of a record, is in a command line
//! or in the environment.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    received::Received,
    text::{body, title},
};

const SETTINGS: [&str; 4] = ["body", "method", "longest", "content-type"];
/// How many characters the text of a message may have, where the handler's file does not say it.
const LONGEST: usize = 3500;

/// Sends the batch on standard input.
pub(super) fn main() -> anyhow::Result<()> {
    let batch = Received::read()?;
    batch.expect_settings(&SETTINGS)?;
    let directory = env::var_os("CREDENTIALS_DIRECTORY")
        .context("The unit has no credentials; give it the address with LoadCredential=url:FILE (systemctl edit).")?;
    let directory = Path::new(&directory);
    let credential = |name: &str| match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("The credential '{name}' can't be read")),
    };
    let url = credential("url")?
        .context("The unit has no credential 'url'; add LoadCredential=url:FILE to it (systemctl edit).")?;
    let headers = credential("header")?.unwrap_or_default();
    let mut file = tempfile::NamedTempFile::new().context("There is no place for a temporary file")?;
    file.write_all(&request_body(&batch)?)?;
    let options = options(&batch, &url, &headers, file.path())?;
    let mut curl = Command::new("curl")
        .args(["--disable", "--config", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("curl can't be started; install the package curl")?;
    if let Some(mut stdin) = curl.stdin.take() {
        stdin.write_all(options.as_bytes()).context("curl does not read its configuration")?;
    }
    let status = curl.wait().context("curl can't be waited for")?;
    if !status.success() {
        bail!("The request failed (curl: {status}).");
    }
    Ok(())
}

/// What curl is to do, as its configuration file has it.
fn options(batch: &Received, url: &str, headers: &str, body: &Path) -> anyhow::Result<String> {
    let url = url.trim().replace("$KEY", &batch.head.key);
    if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) || url.chars().any(char::is_control) {
        bail!("The credential 'url' does not hold one address that begins with https:// or http://.");
    }
    let method = batch.setting("method").unwrap_or("POST");
    if !["POST", "PUT"].contains(&method) {
        bail!("'method' in [settings] is '{method}'; write \"POST\" or \"PUT\".");
    }
    let mut text = String::from("silent\nshow-error\nfail\ngloboff\nmax-time = 30\nproto = \"=http,https\"\n");
    let mut option = |name: &str, value: &str| {
        let _ = writeln!(text, "{name} = \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    };
    option("url", &url);
    option("request", method);
    option("header", &format!("Content-Type: {}", batch.setting("content-type").unwrap_or("application/json")));
    option("header", &format!("X-Wardend-Key: {}", batch.head.key));
    for header in headers.lines().filter(|line| !line.trim().is_empty()) {
        if !header.contains(": ") || header.chars().any(char::is_control) || header.starts_with('@') {
            bail!("The credential 'header' has a line that is not a header; write it as \"Name: value\".");
        }
        option("header", header);
    }
    option("data-binary", &format!("@{}", body.display()));
    Ok(text)
}

/// The body: the template of the handler's file, filled in, or everything.
fn request_body(batch: &Received) -> anyhow::Result<Vec<u8>> {
    let Some(template) = batch.setting("body") else {
        return Ok(serde_json::to_vec(&json!({
            "handler": batch.head.handler, "host": batch.head.host, "key": batch.head.key,
            "summary": batch.head.summary, "title": title(batch), "events": batch.events,
            "omitted": batch.head.omitted, "test": batch.head.test,
        }))?);
    };
    let longest = match batch.setting("longest") {
        None => LONGEST,
        Some(number) => number
            .parse()
            .ok()
            .filter(|number| (100..=1_000_000).contains(number))
            .with_context(|| format!("'longest' in [settings] is '{number}'; write a number from 100 to 1000000"))?,
    };
    let mut value: Value = serde_json::from_str(template).context("'body' in [settings] is not valid JSON")?;
    fill(&mut value, batch, &shortened(&harmless(&body(batch)), longest));
    Ok(serde_json::to_vec(&value)?)
}

/// Puts the batch into the strings of a template.
fn fill(value: &mut Value, batch: &Received, text: &str) {
    match value {
        Value::String(string) if string == "$EVENTS" => *value = json!(batch.events),
        Value::String(string) => *string = filled(string, batch, text),
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, batch, text)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, batch, text)),
        _ => {}
    }
}

/// A string with its placeholders replaced, each once: what was put in is not looked at again.
fn filled(string: &str, batch: &Received, text: &str) -> String {
    let title = title(batch);
    let places = [
        ("$TEXT", text),
        ("$TITLE", &title),
        ("$SUMMARY", &batch.head.summary),
        ("$HOST", &batch.head.host),
        ("$KEY", &batch.head.key),
    ];
    let (mut out, mut rest) = (String::new(), string);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, with) = places
            .iter()
            .find(|(place, _)| rest.starts_with(place))
            .map_or((1, "$"), |(place, with)| (place.len(), with));
        out.push_str(with);
        rest = &rest[length..];
    }
    out + rest
}

/// Text that no chat takes for a mention or a link: users' names are attackers' text.
fn harmless(text: &str) -> String {
    text.replace('<', "\u{2039}").replace('>', "\u{203a}").replace('@', "\u{ff20}")
}

/// The first lines that fit.
fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(longest.saturating_sub(2)).collect();
    if let Some(end) = out.rfind('\n') {
        out.truncate(end + 1);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::text::tests::hostile;

    fn with(settings: &[(&str, &str)]) -> Received {
        let mut batch = hostile();
        batch.head.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        batch
    }

    #[test]
    fn a_template_is_filled_in_its_strings_and_stays_json() {
        let template = r#"{"text": "$TITLE\n$TEXT", "n": 1, "all": "$EVENTS", "list": ["$HOST $5 $KEY"]}"#;
        let body = request_body(&with(&[("body", template)])).unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        let text = value["text"].as_str().unwrap();
        assert!(text.starts_with("wardend on web1: 2 bans") && text.contains("203.0.113.7"), "{text}");
        assert!(!text.contains(['<', '>', '@']), "{text}");
        assert_eq!(value["list"][0], "web1 $5 0123");
        assert_eq!((value["n"].as_u64(), value["all"].as_array().map(Vec::len)), (Some(1), Some(3)));
        let everything: Value = serde_json::from_slice(&request_body(&with(&[])).unwrap()).unwrap();
        assert_eq!((everything["omitted"].as_u64(), everything["host"].as_str()), (Some(4), Some("web1")));
    }

    #[test]
    fn the_templates_of_the_manual_are_valid_and_hold_what_has_happened() {
        let mut page = include_str!("../../man/wardend-notify.8").to_owned();
        for (roff, plain) in [("\\*(Aq", "'"), ("\\e", "\\"), ("\\&", ""), ("\\fI", ""), ("\\fR", "")] {
            page = page.replace(roff, plain);
        }
        let templates: Vec<&str> = page.lines().filter(|line| line.starts_with("body = '")).collect();
        assert_eq!(templates.len(), 5, "Slack, Discord, Telegram, ntfy, Matrix");
        for template in templates {
            let settings: std::collections::BTreeMap<String, String> = toml::from_str(template).unwrap();
            let body = request_body(&with(&[("body", &settings["body"])])).unwrap();
            let value: Value = serde_json::from_slice(&body).unwrap();
            let strings = value.as_object().unwrap().values().filter_map(Value::as_str);
            assert!(strings.clone().any(|text| text.contains("203.0.113.7")), "{template}");
            assert!(strings.clone().any(|text| text.contains("wardend on web1")), "{template}");
            assert!(!strings.clone().any(|text| text.contains('$') && !text.contains("$(touch")), "{template}");
        }
    }

    #[test]
    fn what_was_put_in_is_not_filled_again() {
        let mut batch = with(&[]);
        batch.head.host = "$TEXT".to_owned();
        assert_eq!(filled("$HOST", &batch, "long"), "$TEXT");
    }

    #[test]
    fn a_long_text_ends_at_a_line() {
        let text = "one\ntwo\nthree\n".repeat(100);
        let short = shortened(&text, 100);
        assert!(short.chars().count() <= 100 && short.ends_with("\n…"), "{short}");
        assert_eq!(shortened("ä", 100), "ä");
    }

    #[test]
    fn curl_gets_one_address_and_no_option_from_a_credential() {
        let batch = with(&[]);
        let text = options(&batch, "https://example.org/a\"b\\$KEY\n", "A: b\n\nC: d\n", Path::new("/tmp/x")).unwrap();
        assert!(text.contains("url = \"https://example.org/a\\\"b\\\\0123\"\n"), "{text}");
        assert!(text.contains("header = \"A: b\"\nheader = \"C: d\"\ndata-binary = \"@/tmp/x\"\n"), "{text}");
        for url in ["", "file:///etc/passwd", "https://a\nurl = file:///etc/shadow", "-o /etc/x"] {
            assert!(options(&batch, url, "", Path::new("/tmp/x")).is_err(), "{url}");
        }
        for header in ["@/etc/shadow: x", "x", "A: b\u{1b}"] {
            assert!(options(&batch, "https://a", header, Path::new("/tmp/x")).is_err(), "{header}");
        }
        assert!(options(&with(&[("method", "GET")]), "https://a", "", Path::new("/tmp/x")).is_err());
        assert!(request_body(&with(&[("body", "{")])).is_err());
        assert!(with(&[("bdoy", "")]).expect_settings(&SETTINGS).unwrap_err().to_string().contains("'body'"));
    }
}
