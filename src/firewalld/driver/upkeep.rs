//! The ipsets and the policy themselves: the part of the driver that sees to it that they are there.
//!
//! [`Driver::look`] asks for what is in force and mends it with as few calls as it takes;
//! [`Driver::check`] does the same for the permanent configuration, when nothing is urgent. Objects
//! that are missing can only be created permanently and come into force with a reload, which costs
//! everybody something, so [`Driver::bootstrap`] makes few of them.

use ipnet::IpNet;
use tokio::time::Instant;

use super::{
    Driver, LONGEST_PAUSE, Over, RELOAD_GAP, SURVEY,
    phase::{Pause, Phase, Reload, Seen},
};
use crate::firewalld::Report;
use crate::firewalld::client::{Firewalld, Trouble};
use crate::firewalld::inspect::Inspection;
use crate::firewalld::messages;
use crate::firewalld::messages::{Bypass, NotRemoved};
use crate::firewalld::objects::{Repairs, Runtime};

/// Since 2.4 firewalld answers before a list is in the kernel: 10,000 entries take half a second when
/// nothing else runs. The time to wait for that number, in ms; fewer take less.
const SETTLE: u64 = 3000;

impl Driver {
    /// Sees to it that ipsets and policy are in force, with as few calls as it takes.
    pub(super) async fn look(&mut self, firewalld: &Firewalld) -> Result<Seen, Over> {
        let layout = self.layout.clone();
        let calls = async {
            let unknown = firewalld.unknown_services(&layout).await?;
            let rules = layout.rules(|service| !unknown.contains(service));
            let runtime = firewalld.runtime(&layout, &rules).await?;
            Ok((unknown, rules, runtime, firewalld.settles_late().await))
        };
        let found = self.aside(firewalld, calls).await?;
        let (unknown, rules, runtime, late) = match found {
            Ok(found) => found,
            Err(error) => {
                self.fail(&Trouble::from(&error));
                return Ok(Seen::Missing);
            }
        };
        if layout != self.layout {
            return Ok(Seen::Missing);
        }
        self.unknown = unknown;
        self.plan.set_settle(if late { SETTLE } else { 0 });
        match runtime {
            Runtime::Complete => Ok(Seen::InPlace),
            Runtime::OtherRules => match self.call(firewalld.set_rules(&rules)).await? {
                Ok(()) => {
                    self.tell(messages::RULES.to_owned());
                    Ok(Seen::Corrected)
                }
                Err(error) => {
                    self.fail(&Trouble::from(&error));
                    Ok(Seen::Missing)
                }
            },
            Runtime::Missing => {
                self.bootstrap(firewalld).await?;
                Ok(Seen::Missing)
            }
        }
    }

    /// The same when all else is known to be right. True if all is then.
    pub(super) async fn look_again(&mut self, firewalld: &Firewalld) -> Result<bool, Over> {
        // What happens meanwhile takes it back.
        self.phase = Phase::Checked;
        match self.look(firewalld).await? {
            Seen::InPlace => {}
            Seen::Corrected => self.phase.check_again(),
            Seen::Missing => self.phase = Phase::Unknown,
        }
        Ok(self.phase == Phase::Checked)
    }

    /// The same, and what is accepted before a ban is asked for, and the permanent configuration.
    pub(super) async fn check(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        let begun = Instant::now();
        // An order that comes meanwhile wants another check.
        self.survey = begun + SURVEY;
        let right = self.look_again(firewalld).await? && self.look_ahead(firewalld).await?;
        if self.phase != Phase::Checked {
            return Ok(());
        }
        let (layout, rules) = (self.layout.clone(), self.rules());
        let reply = self.aside(firewalld, firewalld.repair(&layout, &rules)).await?;
        let repaired = self.repaired(reply);
        if !(right && repaired) {
            self.survey = begun;
        }
        if repaired && !self.warned {
            self.warned = self.call(async { Ok(firewalld.keeps_entries().await) }).await?.unwrap_or(false);
            if self.warned {
                self.tell(messages::KEEPS.to_owned());
            }
        }
        Ok(())
    }

    /// Finds out what is accepted before wardend's policy is asked. True if firewalld could be asked.
    async fn look_ahead(&mut self, firewalld: &Firewalld) -> Result<bool, Over> {
        let layout = self.layout.clone();
        // What is wrong with firewalld otherwise comes to light where it matters more.
        let Ok(found) = self.aside(firewalld, firewalld.bypasses(&layout)).await? else { return Ok(false) };
        let found = found.into_iter().filter(|(_, only)| {
            let banned = |nets: &Vec<IpNet>| nets.iter().any(|net| self.plan.touches(net));
            only.as_ref().is_none_or(banned)
        });
        let bypass = found.map(|(bypass, _)| bypass).reduce(|all, one| Bypass {
            what: format!("{} {}", all.what, one.what),
            mend: format!("{} {}", all.mend, one.mend),
        });
        if self.bypass != bypass {
            self.bypass.clone_from(&bypass);
            self.send(Report::Bypassed(bypass));
        }
        Ok(true)
    }

    /// The rules that the policy should have.
    fn rules(&self) -> Vec<String> {
        self.layout.rules(|service| !self.unknown.contains(service))
    }

    /// The permanent configuration was put right, or was to be. True if it is right.
    fn repaired(&mut self, reply: zbus::Result<Repairs>) -> bool {
        match reply {
            Ok(repairs) => {
                for text in messages::repaired(&repairs) {
                    self.tell(text);
                }
                true
            }
            Err(error) => {
                self.fail(&Trouble::from(&error));
                false
            }
        }
    }

    pub(super) async fn bootstrap(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        let now = Instant::now();
        // A reload for other ipsets could not help with these.
        let last = self.last_reload.as_ref().filter(|last| last.is_for(&self.layout)).map(|last| last.at);
        if let Some(next) = last.map(|last| last + self.reload_gap)
            && next > now
        {
            self.fail(&Trouble::Missing);
            self.pause = Some(Pause { until: next.min(now + LONGEST_PAUSE), is_firm: false });
            return Ok(());
        }
        let (layout, rules) = (self.layout.clone(), self.rules());
        let reply = self.call(firewalld.repair(&layout, &rules)).await?;
        if !self.repaired(reply) || layout != self.layout {
            return Ok(());
        }
        if last.is_some() {
            // The last one has not helped for long. Don't reload an admin's firewall every
            // minute without end.
            self.reload_gap = (self.reload_gap * 2).min(RELOAD_GAP * 60);
        }
        self.last_reload = Some(Reload { at: now, layout });
        self.tell(messages::CREATED.to_owned());
        let reply = self.call(firewalld.reload()).await?;
        // Our own reload loses the entries as everybody's does; its signal comes on top of this
        // and costs one more look.
        self.lost();
        if let Err(error) = reply {
            self.fail(&Trouble::from(&error));
        }
        Ok(())
    }

    /// Looks once for all who have asked.
    pub(super) async fn inspect(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        let asked = std::mem::take(&mut self.inspections);
        let (policy, seen) = if self.owner.is_some() {
            let layout = self.layout.clone();
            self.aside(firewalld, async { Ok(firewalld.inspect(&layout).await) })
                .await?
                .unwrap_or(("unknown", Vec::new()))
        } else {
            ("unknown", Vec::new())
        };
        let mut inspection = Inspection { policy, bypass: None, pools: self.plan.compare(&seen) };
        if policy == "right" && self.look_ahead(firewalld).await? && self.bypass.is_some() {
            inspection.policy = "bypassed";
            inspection.bypass.clone_from(&self.bypass);
        }
        for _ in 0..asked {
            self.send(Report::Inspected(inspection.clone()));
        }
        Ok(())
    }

    pub(super) async fn dismantle(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        self.wanted.remove();
        let result = if self.owner.is_none() {
            Err(NotRemoved(Trouble::Gone))
        } else {
            let reply = self.call(firewalld.remove()).await?;
            reply.map_err(|error| NotRemoved(Trouble::from(&error)))
        };
        self.lost();
        self.phase = Phase::Unknown;
        // The objects are gone by our own doing: a later list may have them created at once.
        self.last_reload = None;
        if self.bypass.take().is_some() {
            self.send(Report::Bypassed(None));
        }
        self.send(Report::Removed(result));
        Ok(())
    }
}
