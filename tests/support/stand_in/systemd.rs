//! systemd, as far as it knows firewalld's unit.

use zbus::{Connection, OwnedObjectPath, connection::Builder, interface};

use super::Bus;

/// What systemd says of firewalld's unit: its state, and what kind of job waits for it.
pub(crate) async fn systemd(bus: &Bus, state: &'static str, job: &'static str) -> Connection {
    const UNIT: &str = "/org/freedesktop/systemd1/unit/firewalld_2eservice";
    Builder::address(bus.address.as_str())
        .serve_at("/org/freedesktop/systemd1", Systemd(UNIT))
        .serve_at(UNIT, Unit(state, job))
        .serve_at(JOB, Job(job))
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap()
}

const JOB: &str = "/org/freedesktop/systemd1/job/7";

struct Systemd(&'static str);

struct Unit(&'static str, &'static str);

struct Job(&'static str);

#[interface(name = "org.freedesktop.systemd1.Job")]
impl Job {
    #[zbus(property)]
    fn job_type(&self) -> String {
        self.0.to_owned()
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn get_unit(&self, name: &str) -> OwnedObjectPath {
        assert_eq!(name, "firewalld.service");
        self.0.try_into().unwrap()
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.0.to_owned()
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        if self.1.is_empty() { (0, "/".try_into().unwrap()) } else { (7, JOB.try_into().unwrap()) }
    }
}
