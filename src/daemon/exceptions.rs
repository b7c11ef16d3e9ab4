//! Orders that hold for a time: who is ignored or suspected, and which jails are paused.

use ipnet::IpNet;

use super::run::Daemon;
use crate::{
    bus::{Many, Reply},
    contract::exceptions::{ExceptionRow, IgnoredRow},
    core::{
        Exception, ExceptionKind,
        engine::{CommandError, Terms},
    },
    util::time::now,
};

impl Daemon {
    /// Ignores or suspects networks.
    pub(super) fn except(
        &mut self,
        kind: ExceptionKind,
        networks: &[IpNet],
        jail: Option<&str>,
        terms: &Terms,
        reply: Reply<Many<Exception>>,
    ) {
        let outcomes = self.engine.except(kind, networks, jail, terms, now(), &mut self.effects);
        self.keep_many(outcomes, reply);
    }

    /// Ends that.
    pub(super) fn end_exceptions(
        &mut self,
        kind: ExceptionKind,
        networks: &[IpNet],
        jail: Option<&str>,
        uid: Option<u32>,
        reply: Reply<Many<Vec<Exception>>>,
    ) {
        let outcomes = self.engine.end_exceptions(kind, networks, jail, uid, now(), &mut self.effects);
        self.keep_many(outcomes, reply);
    }

    pub(super) fn pause(&mut self, jail: Option<&str>, terms: &Terms, reply: Reply<Vec<Exception>>) {
        match self.engine.pause(jail, terms, now(), &mut self.effects) {
            Ok(paused) => self.keep(true, reply, |_| paused),
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    pub(super) fn resume(&mut self, jail: Option<&str>, uid: Option<u32>, reply: Reply<Vec<Exception>>) {
        match self.engine.resume(jail, uid, &mut self.effects) {
            Ok(resumed) => self.keep(true, reply, |_| resumed),
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    fn keep_many<T: Send + 'static>(&mut self, outcomes: Result<Many<T>, CommandError>, reply: Reply<Many<T>>) {
        match outcomes {
            Ok(outcomes) => self.keep(outcomes.iter().any(Result::is_ok), reply, |_| outcomes),
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    /// Who is never banned, by order and by configuration.
    pub(super) fn ignored(&self) -> Vec<IgnoredRow> {
        let all = self.engine.jails().count();
        let ordered = self.engine.exceptions(ExceptionKind::Ignored).map(IgnoredRow::from);
        let configured = self.engine.ignored_by_configuration();
        ordered.chain(configured.iter().map(|entry| IgnoredRow::configured(entry, all))).collect()
    }

    pub(super) fn suspects(&self) -> Vec<ExceptionRow> {
        self.engine.exceptions(ExceptionKind::Suspected).map(ExceptionRow::from).collect()
    }
}
