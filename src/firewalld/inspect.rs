//! What firewalld holds against what it should, for an admin who asks. Only a look: what is wrong
//! is put right by the driver as ever, or at once by [`super::Order::Sync`].

use super::client::Firewalld;
use super::layout::{IpsetId, Layout};
use super::messages::Bypass;
use super::objects::Runtime;

/// The bans of one scope and family, as an admin sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolReport {
    /// The name of the first of its ipsets.
    pub(crate) name: String,
    /// How many of its ipsets hold anything.
    pub(crate) sets: usize,
    pub(crate) wanted: usize,
    pub(crate) held: usize,
    /// Entries that should be in one of the ipsets.
    pub(crate) missing: Vec<String>,
    /// Entries that should be in none.
    pub(crate) foreign: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// `right`, `bypassed`, `other-rules`, `missing`, or `unknown` if firewalld can't be asked.
    pub(crate) policy: &'static str,
    /// Why it is bypassed.
    pub(crate) bypass: Option<Bypass>,
    pub(crate) pools: Vec<PoolReport>,
}

impl Firewalld {
    /// The state of the policy, and the entries of each ipset. One that can't be asked holds
    /// nothing: it is not there, or firewalld is not, which the policy's state tells.
    pub(super) async fn inspect(&self, layout: &Layout) -> (&'static str, Vec<(IpsetId, Vec<String>)>) {
        let policy = async {
            let unknown = self.unknown_services(layout).await?;
            let rules = layout.rules(|service| !unknown.contains(service));
            self.runtime(layout, &rules).await
        };
        let policy = match policy.await {
            Ok(Runtime::Complete) => "right",
            Ok(Runtime::OtherRules) => "other-rules",
            Ok(Runtime::Missing) => "missing",
            Err(_) => return ("unknown", Vec::new()),
        };
        let mut seen = Vec::with_capacity(layout.sets.len());
        for set in &layout.sets {
            seen.push((set.clone(), self.entries(set).await.unwrap_or_default()));
        }
        (policy, seen)
    }
}
