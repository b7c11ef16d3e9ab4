//! How a ban begins and ends: what is blocked and cut for it, which ban has to go for it, and how long it
//! lasts.

use ipnet::IpNet;

use super::{Effect, Engine, UnbanReason};
use crate::{
    core::{
        bans::Ban,
        history::Counted,
        jail::{Bound, Jail, JailSettings},
        scope::Scope,
        time::Usec,
        tops::Deed,
    },
    util::fnv,
};

impl Engine {
    /// A jail has decided; while it is paused, that is only told.
    pub(super) fn decide_ban(&mut self, ban: Ban, out: &mut Vec<Effect>) {
        if self.pause_of(&ban.jail).is_some() {
            out.push(Effect::Withheld(ban));
        } else {
            self.start_ban(&ban, None, out);
        }
    }

    /// Begins a ban. What its source has open is cut as `cut` says, or else if a jail knows of something.
    /// (For one that is ordered that is not enough: it may be no session of any jail's.)
    pub(super) fn start_ban(&mut self, ban: &Ban, cut: Option<bool>, out: &mut Vec<Effect>) {
        // The firewall first: everything else can wait a millisecond.
        let scope = self.scope(&ban.jail).cloned();
        if let Some(scope) = scope.clone().filter(|scope| !self.is_blocked(ban.source, scope)) {
            out.push(Effect::Block { scope, source: ban.source, since: ban.enforced_since() });
        }
        self.bans.add(ban.clone());
        let (source, time, now) = (ban.source, ban.enforced_since(), self.clock.now());
        // A list that somebody gives says nothing of what its sources did here, and may be longer than
        // what is remembered.
        if ban.is_ordered() {
            self.history.add(Counted::Ordered, time, now);
        } else {
            self.history.add(Counted::Ban, time, now);
            self.tops.add(source, &ban.jail, Deed::Ban, time, now);
        }
        let cut = scope.filter(|_| cut.unwrap_or_else(|| self.is_to_be_cut(ban)));
        out.push(Effect::Banned(ban.clone()));
        out.extend(cut.map(|scope| Effect::Cut { scope, source }));
        self.count_ban(ban, out);
        while let Some((source, jail)) = self.bans.surplus() {
            out.push(Effect::Crowded(jail.clone(), Bound::Bans));
            self.end_ban(source, &jail, time, UnbanReason::Crowded, out);
        }
    }

    /// Hands a ban to the jails that count bans. Theirs are counted by none.
    fn count_ban(&mut self, ban: &Ban, out: &mut Vec<Effect>) {
        let counts = |jail: &Jail| jail.settings.filter.counts_bans();
        if self.jails.iter().any(|jail| counts(jail) && jail.name == ban.jail) {
            return;
        }
        for index in 0..self.jails.len() {
            if counts(&self.jails[index]) {
                let mut verdicts = Vec::new();
                self.jails.at(index).observe_ban(ban, &mut verdicts);
                self.judge(index, &mut verdicts, out);
            }
        }
    }

    /// Whether there may be something to cut.
    fn is_to_be_cut(&self, ban: &Ban) -> bool {
        let cut = self.jails.iter().any(|jail| jail.settings.name == *ban.jail && jail.settings.cut);
        // Whoever is at work there is not interrupted, unless guessing goes on.
        cut && ban.despite.is_none() && self.jails.iter().any(|jail| jail.is_open_in(ban.source))
    }

    pub(super) fn end_ban(
        &mut self,
        source: IpNet,
        jail: &str,
        now: Usec,
        why: UnbanReason,
        out: &mut Vec<Effect>,
    ) -> Option<Ban> {
        let ban = self.bans.remove(source, jail, now)?;
        out.push(Effect::Unbanned(ban.clone(), why));
        if let Some(scope) = self.scope(jail).cloned()
            && !self.is_blocked(source, &scope)
        {
            out.push(Effect::Release { scope, source });
        }
        Some(ban)
    }

    /// Whether another jail bans the source from the same.
    fn is_blocked(&self, source: IpNet, scope: &Scope) -> bool {
        self.bans.of(source).any(|ban| self.scope(&ban.jail).is_some_and(|it| **it == *scope))
    }
}

/// The end of the `count`th ban of a source that begins at `since`: each lasts `bantime-factor`
/// times as long as the one before, up to `bantime-max`, and then up to `bantime-jitter` longer.
pub(super) fn ban_end(settings: &JailSettings, source: IpNet, since: Usec, count: u32) -> Option<Usec> {
    let bantime = settings.bantime?;
    let factor = u64::from(settings.bantime_factor).saturating_pow(count.saturating_sub(1));
    let limit = settings.bantime_max.unwrap_or(Usec::MAX).max(bantime);
    let jitter = match settings.bantime_jitter {
        0 => 0,
        most => scatter(&format!("{source} {since} {count}")) % (most + 1),
    };
    Some(since.saturating_add(bantime.saturating_mul(factor).min(limit)).saturating_add(jitter))
}

/// A number that nobody outside can foresee, since `text` holds a time in µs, and that a replay
/// finds again: a hash, and the last step of SplitMix64.
fn scatter(text: &str) -> u64 {
    let hash = fnv::add(fnv::START, text.as_bytes());
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
