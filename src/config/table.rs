//! What is made of the rows in [`super::jail`], one for each setting of a jail.
//!
//! A row has the name (in the files, with `-` for `_`), the type as written, how that is read if one kind of
//! reading is enough, and the property of `org.wardend1.Jail` that shows it. From the rows come what a
//! file may say (`JailTable`), what all files together say (`JailInput`) and a method of `Layered` that
//! reads the value. Tests compare them with the shipped wardend.conf, wardend.conf(5) and the bus.

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $written:ty $(=> $read:ty = $kind:ident($($how:tt)*))?, $property:literal;)*) => {
        /// `[default]`, or `[jail.NAME]` of one file.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct JailTable {
            $($(#[doc = $doc])* pub(crate) $name: Option<Spanned<$written>>,)*
            /// See [`JailInput::ignoreip`].
            pub(crate) ignoreip: Option<Spanned<Vec<Spanned<String>>>>,
            /// See [`JailInput::nat64_prefixes`].
            pub(crate) nat64_prefixes: Option<Spanned<Vec<Spanned<String>>>>,
        }

        /// `[default]` or `[jail.NAME]` of all files together.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct JailInput {
            pub(crate) place: Location,
            $($(#[doc = $doc])* pub(crate) $name: Option<Located<$written>>,)*
            /// Who is never banned; the lists of all files add up.
            pub(crate) ignoreip: Vec<Located<String>>,
            /// The prefixes of the admin's own translators.
            pub(crate) nat64_prefixes: Option<Vec<Located<String>>>,
        }

        impl JailInput {
            /// Lays a table over those before.
            pub(super) fn add(&mut self, table: JailTable, place: impl Fn(usize) -> Location, at: usize) {
                self.place = place(at);
                $(if let Some(value) = table.$name {
                    let place = place(value.span().start);
                    self.$name = Some(Located { value: value.into_inner(), place });
                })*
                self.add_lists(table.ignoreip, table.nat64_prefixes, place);
            }
        }

        impl Layered<'_> {
            $($(pub(super) fn $name(&self) -> Result<$read, ConfigError> {
                self.$kind(stringify!($name), |table| table.$name.as_ref(), $($how)*)
            })?)*
        }

        /// The names of the settings, and the properties that show them; empty for none.
        #[cfg(test)]
        pub(super) const ROWS: &[(&str, &str)] =
            &[$((stringify!($name), $property),)* ("ignoreip", "NIgnoreIP"), ("nat64_prefixes", "NAT64Prefixes")];

        /// The bounds and the defaults of the settings that are read in one way, as in the table.
        #[cfg(test)]
        pub(super) const READ: &[(&str, &str, &str)] =
            &[$($((stringify!($name), stringify!($kind), stringify!($($how)*)),)?)*];

        /// The settings that are read in one way.
        #[cfg(test)]
        pub(super) fn values(input: &Layered<'_>) -> Vec<(&'static str, String)> {
            vec![$($({
                let value: Result<$read, ConfigError> = input.$name();
                (stringify!($name), format!("{value:?}"))
            },)?)*]
        }
    };
}

pub(super) use settings;
