//! Carries out what the engine wants: orders to the firewall, and word of what has happened.

use super::{clock_watch::ClockWatch, run::Daemon};
use crate::{
    contract::happening::Happening,
    core::{engine::Effect, net::text_of},
};

impl Daemon {
    /// Does what the engine wants.
    pub(super) fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out_one(effect);
        }
        self.effects = effects;
    }

    fn carry_out_one(&mut self, effect: Effect) {
        // What the backlog brings goes to the firewall at its end, all at once: most of it has come and
        // gone.
        let live = self.reading.caught_up;
        match effect {
            Effect::Block { scope, source, since } => self.firewall.block(scope, source, since, live),
            Effect::Cut { scope, source } => self.firewall.cut(scope, source, live),
            Effect::Release { scope, source } => self.firewall.release(scope, source, live),
            Effect::Banned(ban) => {
                self.change();
                self.tell(Happening::Banned(ban));
            }
            Effect::Extended(ban) => {
                self.change();
                self.tell(Happening::Extended(ban));
            }
            Effect::Unbanned(ban, why) => {
                self.change();
                self.tell(Happening::Unbanned(ban, why));
            }
            Effect::Failed { jail, source, failure, ignored: false } => {
                self.tell(Happening::Failed { jail, source, failure });
            }
            Effect::Failed { jail, source, failure, ignored: true } => {
                tracing::trace!("{} of {} is ignored in jail {jail}.", failure.rule, text_of(source));
            }
            Effect::Spared { jail, source, login, failures } => {
                self.tell(Happening::Spared { jail, source, login, failures });
            }
            Effect::Leak { jail, scope, ban, failure } if live => {
                if self.tell(Happening::Leaked { jail, ban, failure }) {
                    self.firewall.suspect(scope, ban);
                }
            }
            Effect::Crowded(jail, bound) => drop(self.tell(Happening::Crowded(jail, bound))),
            Effect::ClockSet(by) => {
                // The engine knows now; the next look shall not tell it again.
                self.clock_watch = ClockWatch::look();
                self.change();
                self.tell(Happening::ClockSet(by));
            }
            Effect::Withheld(ban) => drop(self.tell(Happening::Withheld(ban))),
            Effect::Excepted(exception) => {
                self.change();
                self.tell(Happening::Excepted(exception));
            }
            Effect::ExceptionEnded(exception, why) => {
                self.change();
                self.tell(Happening::ExceptionEnded(exception, why));
            }
            Effect::Nameless { jail, count } => self.health.nameless(&jail, count),
            Effect::TakenBack { .. } | Effect::Leak { .. } => {}
        }
    }

    fn tell(&mut self, happening: Happening) -> bool {
        self.happenings.tell(happening, !self.reading.caught_up)
    }

    /// Something has changed that people wait for: it is to be saved and announced soon.
    pub(super) fn change(&mut self) {
        self.saving.touch_soon();
        self.pace.soon();
    }
}
