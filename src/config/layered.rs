//! How each kind of value is read, from a jail's own over those of `[default]`.

use super::{
    ConfigError,
    jail::{JailInput, Layered},
    place::Located,
    span::parse_time,
    value::Time,
};
use crate::core::time::Usec;

/// The name of a setting in the files.
fn written(name: &str) -> String {
    name.replace('_', "-")
}

impl<'i> Layered<'i> {
    pub(super) fn get<T>(&self, field: impl Fn(&'i JailInput) -> Option<&'i Located<T>>) -> Option<&'i Located<T>> {
        field(self.jail).or_else(|| field(self.default))
    }

    /// True or false, or its default. It can't fail, but is read as everything else.
    #[expect(clippy::unnecessary_wraps, reason = "all kinds of settings are read alike")]
    pub(super) fn switch(
        &self,
        _name: &str,
        field: impl Fn(&'i JailInput) -> Option<&'i Located<bool>>,
        default: bool,
    ) -> Result<bool, ConfigError> {
        Ok(self.get(field).map_or(default, |located| located.value))
    }

    /// A number within bounds, or its default.
    pub(super) fn number(
        &self,
        name: &str,
        field: impl Fn(&'i JailInput) -> Option<&'i Located<i64>>,
        bounds: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, ConfigError> {
        let Some(located) = self.get(field) else { return Ok(default) };
        u32::try_from(located.value).ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            located.error(format!("{} is {}; write a number from {least} to {most}.", written(name), located.value))
        })
    }

    /// A time span in µs; none is infinite.
    pub(super) fn time(
        &self,
        name: &str,
        field: impl Fn(&'i JailInput) -> Option<&'i Located<Time>>,
        default: Option<Usec>,
    ) -> Result<Option<Usec>, ConfigError> {
        self.get(field).map_or(Ok(default), |located| {
            parse_time(&located.value).map_err(|what| located.error(format!("{} is {what}", written(name))))
        })
    }

    /// As [`Self::time`], where "infinity" makes no sense.
    pub(super) fn finite(
        &self,
        name: &str,
        field: impl Fn(&'i JailInput) -> Option<&'i Located<Time>> + Copy,
        default: Usec,
    ) -> Result<Usec, ConfigError> {
        self.time(name, field, Some(default))?.ok_or_else(|| {
            let place = self.get(field).map(|located| located.place.clone()).unwrap_or_default();
            place.error(format!("{} can't be infinite; write a span of time such as \"10min\".", written(name)))
        })
    }

    /// As [`Self::finite`], where 0 is for none.
    pub(super) fn finite_or_zero(
        &self,
        name: &str,
        field: impl Fn(&'i JailInput) -> Option<&'i Located<Time>> + Copy,
        default: Usec,
    ) -> Result<Usec, ConfigError> {
        match self.get(field).map(|located| &located.value) {
            Some(Time::Seconds(0)) => Ok(0),
            _ => self.finite(name, field, default),
        }
    }
}
