//! What somebody may have meant who named something that there is not.
//!
//! Jails, modes, rules, filters and settings are all named by hand, and all mistakes in a name are
//! told alike: with the one name that is near enough to be meant, else with all that there are.

/// The number of names that fit into a sentence.
const MOST: usize = 40;

/// The end of a sentence about a name that is not among `names`.
pub fn instead<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match nearest(name, &names) {
        Some(near) => format!("did you mean '{near}'?"),
        None if names.is_empty() => "there is none.".to_owned(),
        None if names.len() > MOST => {
            format!("there are: {} and {} more.", names[..MOST].join(", "), names.len() - MOST)
        }
        None => format!("there are: {}.", names.join(", ")),
    }
}

/// A sentence about a TOML text that does not fit; serde lists what it expected instead.
pub fn toml_mistake(error: &toml::de::Error) -> String {
    let message = error.message().trim_end_matches('.').replace('\n', " ");
    let Some((unknown, expected)) = message.split_once(", expected ").filter(|(what, _)| what.starts_with("unknown "))
    else {
        return format!("{message}.");
    };
    // "unknown field `a`, expected one of `b`, `c`": the names are what stands between backquotes.
    let quoted = |text: &'_ str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let names = quoted(expected);
    let name = quoted(unknown).into_iter().next().unwrap_or_default();
    format!("{unknown}; {}", instead(&name, names.iter().map(String::as_str)))
}

/// The name that is near enough for a slip of the fingers: every third letter may be wrong.
fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let slips = (name.chars().count() / 3).max(1);
    let near = names.iter().map(|known| (distance(name, known), *known)).min()?;
    (near.0 <= slips).then_some(near.1)
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour (the
/// optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut fewest = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                fewest = fewest.min(before[j - 1] + 1);
            }
            row.push(fewest);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_understood_and_nothing_else() {
        let names = ["enabled", "maxretry", "findtime", "bantime", "bantime-max"];
        for (name, meant) in [
            ("maxretries", Some("maxretry")),
            ("maxrtery", Some("maxretry")),
            ("Bantime", Some("bantime")),
            ("findtme", Some("findtime")),
            ("bantime_max", Some("bantime-max")),
            ("port", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &names), meant, "{name}");
        }
        assert_eq!(instead("shd", ["sshd", "web"]), "did you mean 'sshd'?");
        assert_eq!(instead("postfix", ["sshd", "web"]), "there are: sshd, web.");
        assert_eq!(instead("postfix", []), "there is none.");
    }

    #[test]
    fn distances_are_those_of_the_book() {
        for (a, b, slips) in [("", "", 0), ("abc", "", 3), ("ca", "abc", 3), ("sshd", "sshd", 0), ("sshd", "shsd", 1)] {
            assert_eq!(distance(a, b), slips, "{a} {b}");
            assert_eq!(distance(b, a), slips, "{b} {a}");
        }
    }
}
