//! `NAME[key=value, key="a,b"]`: how fail2ban names a filter or an action with its options.

/// A name with its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) options: Vec<(String, String)>,
}

impl Call {
    /// The last value of an option, as there.
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// All that a value names, parted by blanks and lines outside of the brackets.
pub(crate) fn calls(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == '[').unwrap_or(rest.len());
        let mut call = Call { name: rest[..end].to_owned(), options: Vec::new() };
        rest = &rest[end..];
        // More than one group of options may follow.
        while let Some(inner) = rest.trim_start().strip_prefix('[') {
            let (options, after) = options(inner);
            call.options.extend(options);
            rest = after;
        }
        if !call.name.is_empty() {
            calls.push(call);
        }
        rest = rest.trim_start();
    }
    calls
}

/// The options up to the closing bracket, and the text after it.
fn options(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut options = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(after) = rest.strip_prefix(']') {
            return (options, after);
        }
        let Some(end) = rest.find(['=', ']']) else { return (options, "") };
        if rest[end..].starts_with(']') {
            rest = &rest[end..];
            continue;
        }
        let key = rest[..end].trim().to_owned();
        rest = rest[end + 1..].trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = match quote {
            Some(quote) => {
                let inner = &rest[1..];
                let end = inner.find(quote).unwrap_or(inner.len());
                rest = inner.get(end + 1..).unwrap_or_default();
                &inner[..end]
            }
            None => {
                let end = rest.find([',', ']']).unwrap_or(rest.len());
                let value = &rest[..end];
                rest = &rest[end..];
                value
            }
        };
        options.push((key, value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_options_are_parted() {
        let call = |name: &str, options: &[(&str, &str)]| Call {
            name: name.to_owned(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        for (text, expected) in [
            ("sshd", vec![call("sshd", &[])]),
            (
                "sshd[mode=aggressive, publickey=any]",
                vec![call("sshd", &[("mode", "aggressive"), ("publickey", "any")])],
            ),
            (
                "nftables[type=allports][port=\"ssh,2222\", protocol='tcp']\n  mail[name=%(x)s]",
                vec![
                    call("nftables", &[("type", "allports"), ("port", "ssh,2222"), ("protocol", "tcp")]),
                    call("mail", &[("name", "%(x)s")]),
                ],
            ),
            ("a b\nc", vec![call("a", &[]), call("b", &[]), call("c", &[])]),
            ("a[x=\"]\"]", vec![call("a", &[("x", "]")])]),
            ("a[]", vec![call("a", &[])]),
            ("a[x=1", vec![call("a", &[("x", "1")])]),
            ("a[x=\"1", vec![call("a", &[("x", "1")])]),
            ("[x=1]", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(calls(text), expected, "{text}");
        }
    }
}
