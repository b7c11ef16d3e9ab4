//! Orders that hold for a time: who is ignored or watched, and which jails are paused.

use ipnet::IpNet;

use super::run::Daemon;
use crate::{
    bus::Outcomes,
    contract::{
        error::Error,
        exceptions::{ExceptionRow, IgnoredRow},
    },
    core::{Exception, ExceptionKind, engine::Terms},
    util::time::now,
};

impl Daemon {
    /// Ignores or watches networks.
    pub(super) async fn except(
        &mut self,
        kind: ExceptionKind,
        networks: &[IpNet],
        jail: Option<&str>,
        terms: &Terms,
    ) -> Outcomes<Exception> {
        let outcomes = self.engine.except(kind, networks, jail, terms, now(), &mut self.effects)?;
        self.kept(outcomes.iter().any(Result::is_ok)).await?;
        Ok(outcomes)
    }

    /// Ends that.
    pub(super) async fn end_exceptions(
        &mut self,
        kind: ExceptionKind,
        networks: &[IpNet],
        jail: Option<&str>,
        uid: Option<u32>,
    ) -> Outcomes<Vec<Exception>> {
        let outcomes = self.engine.end_exceptions(kind, networks, jail, uid, now(), &mut self.effects)?;
        self.kept(outcomes.iter().any(Result::is_ok)).await?;
        Ok(outcomes)
    }

    pub(super) async fn pause(&mut self, jail: Option<&str>, terms: &Terms) -> Result<Vec<Exception>, Error> {
        let paused = self.engine.pause(jail, terms, now(), &mut self.effects)?;
        self.kept(true).await?;
        Ok(paused)
    }

    pub(super) async fn resume(&mut self, jail: Option<&str>, uid: Option<u32>) -> Result<Vec<Exception>, Error> {
        let resumed = self.engine.resume(jail, uid, &mut self.effects)?;
        self.kept(true).await?;
        Ok(resumed)
    }

    /// Who is never banned, by order and by configuration.
    pub(super) fn ignored(&self) -> Vec<IgnoredRow> {
        let all = self.engine.jails().count();
        let ordered = self.engine.exceptions(ExceptionKind::Ignored).map(IgnoredRow::from);
        let configured = self.engine.ignored_by_configuration();
        ordered.chain(configured.iter().map(|entry| IgnoredRow::configured(entry, all))).collect()
    }

    pub(super) fn watched(&self) -> Vec<ExceptionRow> {
        self.engine.exceptions(ExceptionKind::Watched).map(ExceptionRow::from).collect()
    }
}
