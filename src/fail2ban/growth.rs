//! fail2ban's `bantime.increment` and its kin as wardend's growing bans.

use super::{
    converted::{Warning, quoted},
    ini::shortened,
    setup::Place,
    span::Span,
};

/// What becomes of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growth {
    /// Setting, value as TOML, and where it is from.
    pub(crate) settings: Vec<(&'static str, String, String)>,
    pub(crate) warnings: Vec<Warning>,
}

/// The formula that fail2ban has by default, without blanks.
const STOCK: &str = "ban.time*(1<<(ban.countifban.count<20else20))*banfactor";
/// As many bans of a series as are shown.
const SHOWN: usize = 6;

/// Reads the keys by `text`. The error is a place and why the jail can't be converted.
pub(crate) fn growth(
    text: &dyn Fn(&str) -> Option<(String, Place)>,
    on: &Place,
    bantime: u64,
) -> Result<Growth, (Place, String)> {
    let keys = Keys { text, bantime };
    let mut growth = Growth::default();
    let most = keys.span("bantime.maxtime")?;
    let mut series = Series { factor: 2, from: on.clone(), most };
    if let Some((list, place)) = text("bantime.multipliers") {
        keys.multipliers(&list, &place, &mut series, &mut growth)?;
    } else if let Some((formula, place)) = text("bantime.formula") {
        growth.warn_of_the_formula(&formula, &place);
    }
    if let Some((factor, place)) = text("bantime.factor") {
        growth.warn_of_the_factor(&factor, &place, series.factor);
    }
    let Series { factor, from, most } = series;
    growth.set("bantime-factor", factor.to_string(), from.to_string());
    match most {
        Some((span, place)) => {
            if span.seconds() < bantime {
                growth
                    .warn(&place, "bantime.maxtime is shorter than bantime; here all bans last for bantime".to_owned());
            }
            growth.set("bantime-max", quoted(&span.text()), place.to_string());
        }
        // The growth ends nowhere there.
        None => growth.set("bantime-max", quoted("infinity"), format!("{on}, no bantime.maxtime")),
    }
    if let Some((span, place)) = keys.span("bantime.rndtime")? {
        if span == Span::Permanent || span.is_too_long() {
            return Err((place, "bantime.rndtime is not a span of time".to_owned()));
        }
        growth.set("bantime-jitter", quoted(&span.text()), place.to_string());
    }
    Ok(growth)
}

/// How bans grow: by what, as said where, and up to what.
struct Series {
    factor: u64,
    from: Place,
    most: Option<(Span, Place)>,
}

/// The keys of a jail.
struct Keys<'k> {
    text: &'k dyn Fn(&str) -> Option<(String, Place)>,
    bantime: u64,
}

impl Keys<'_> {
    /// A span that is not 0.
    fn span(&self, key: &str) -> Result<Option<(Span, Place)>, (Place, String)> {
        let Some((text, place)) = (self.text)(key) else { return Ok(None) };
        match Span::parse(&text) {
            Ok(Span::Seconds(0)) => Ok(None),
            Ok(span) => Ok(Some((span, place))),
            Err(what) => Err((place, format!("{key} is '{}', which {what}", shortened(&text)))),
        }
    }

    /// `bantime.multipliers`: the length of each ban in a row.
    fn multipliers(
        &self,
        list: &str,
        place: &Place,
        series: &mut Series,
        growth: &mut Growth,
    ) -> Result<(), (Place, String)> {
        let numbers: Option<Vec<i64>> = list.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) else {
            return Err((
                place.clone(),
                format!("bantime.multipliers is '{}', which is not a list of whole numbers", shortened(list)),
            ));
        };
        series.from = place.clone();
        let times = |number: u64| Span::Seconds(self.bantime.saturating_mul(number));
        let longest = numbers.iter().copied().max().unwrap_or(1).max(1).unsigned_abs();
        let end = if numbers.iter().any(|number| *number < 0) { Span::Permanent } else { times(longest) };
        let ratio = constant_ratio(&numbers);
        series.factor = ratio.unwrap_or(2);
        if ratio.is_none() {
            let ours = (0..SHOWN).map(|n| Span::Seconds(times(1 << n).seconds().min(end.seconds())).text());
            let theirs = numbers.iter().take(SHOWN).map(|number| match number {
                ..0 => "permanent".to_owned(),
                _ => times(number.unsigned_abs()).text(),
            });
            let what = format!(
                "bantime.multipliers has no constant ratio, so bans last {} there, and {} here",
                theirs.collect::<Vec<_>>().join(", "),
                ours.collect::<Vec<_>>().join(", ")
            );
            growth.warn(place, what);
        }
        if series.most.as_ref().is_none_or(|(span, _)| span.seconds() > end.seconds()) {
            series.most = Some((end, place.clone()));
        }
        Ok(())
    }
}

impl Growth {
    fn set(&mut self, key: &'static str, value: String, from: String) {
        self.settings.push((key, value, from));
    }

    fn warn(&mut self, place: &Place, what: String) {
        self.warnings.push(Warning { place: Some(place.clone()), what });
    }

    fn warn_of_the_formula(&mut self, formula: &str, place: &Place) {
        let plain: String = formula.split_whitespace().collect::<String>().to_lowercase();
        if plain != STOCK {
            let what = format!(
                "bantime.formula = {}: wardend evaluates no formula; each further ban is twice as long; correct bantime-factor if that is not meant",
                shortened(formula)
            );
            self.warn(place, what);
        }
    }

    fn warn_of_the_factor(&mut self, text: &str, place: &Place, ours: u64) {
        let what = match text.trim().parse::<f64>() {
            Ok(1.0) => return,
            Ok(_) => format!(
                "bantime.factor = {} multiplies each further ban, and not the growth; here the second ban is {ours} times as long as the first",
                text.trim()
            ),
            Err(_) => format!("bantime.factor is '{}', which is not a number; it was left out", shortened(text)),
        };
        self.warn(place, what);
    }
}

/// The factor from each number to the next; none if wardend accepts no such factor.
fn constant_ratio(numbers: &[i64]) -> Option<u64> {
    let first = *numbers.first()?;
    if first < 1 {
        return None;
    }
    let ratio = match numbers.get(1) {
        Some(second) if second % first == 0 => second / first,
        Some(_) => return None,
        None => 1,
    };
    let constant = numbers.windows(2).all(|pair| pair[0].checked_mul(ratio) == Some(pair[1]));
    u64::try_from(ratio).ok().filter(|ratio| first == 1 && constant && (1..=100).contains(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Settings = Vec<(&'static str, String)>;

    /// The settings, and the number of warnings.
    fn of(values: &[(&str, &str)]) -> Result<(Settings, usize), String> {
        let place = Place { file: "jail.local".into(), line: 1, shipped: false };
        let text = |key: &str| {
            let value = values.iter().find(|(known, _)| *known == key);
            value.map(|(_, value)| ((*value).to_owned(), place.clone()))
        };
        let growth = growth(&text, &place, 600).map_err(|(_, why)| why)?;
        Ok((growth.settings.into_iter().map(|(key, value, _)| (key, value)).collect(), growth.warnings.len()))
    }

    #[test]
    fn bans_grow_as_they_did_or_the_difference_is_reported() {
        for (values, expected, warnings) in [
            (vec![], "bantime-factor 2 bantime-max \"infinity\"", 0),
            (
                vec![("bantime.maxtime", "5w"), ("bantime.rndtime", "10m")],
                "bantime-factor 2 bantime-max \"5weeks\" bantime-jitter \"10min\"",
                0,
            ),
            (vec![("bantime.multipliers", "1 2 4 8 16")], "bantime-factor 2 bantime-max \"160min\"", 0),
            (
                vec![("bantime.multipliers", "1 3 9"), ("bantime.maxtime", "1h")],
                "bantime-factor 3 bantime-max \"1h\"",
                0,
            ),
            (vec![("bantime.multipliers", "1 5 30 60 300")], "bantime-factor 2 bantime-max \"50h\"", 1),
            (vec![("bantime.multipliers", "7200 28800 -1")], "bantime-factor 2 bantime-max \"infinity\"", 1),
            (vec![("bantime.factor", "1")], "bantime-factor 2 bantime-max \"infinity\"", 0),
            (vec![("bantime.factor", "24")], "bantime-factor 2 bantime-max \"infinity\"", 1),
            (
                vec![("bantime.formula", "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor")],
                "bantime-factor 2 bantime-max \"infinity\"",
                0,
            ),
            (vec![("bantime.formula", "ban.Time * math.exp(1)")], "bantime-factor 2 bantime-max \"infinity\"", 1),
            (vec![("bantime.maxtime", "5m")], "bantime-factor 2 bantime-max \"5min\"", 1),
            (vec![("bantime.maxtime", "-1")], "bantime-factor 2 bantime-max \"infinity\"", 0),
        ] {
            let (settings, told) = of(&values).unwrap();
            let text: Vec<String> = settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
            assert_eq!((text.join(" "), told), (expected.to_owned(), warnings), "{values:?}");
        }
        assert!(of(&[("bantime.maxtime", "soon")]).unwrap_err().contains("'soon', which"));
        assert!(of(&[("bantime.multipliers", "1 two")]).unwrap_err().contains("whole numbers"));
    }
}
