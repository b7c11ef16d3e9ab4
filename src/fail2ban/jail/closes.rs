//! What the bans of a jail close, and how: its actions and ports.

use std::path::Path;

use super::Jail;
use crate::fail2ban::{
    actions::{self, Action, Kind},
    converted::Warning,
    ini::shortened,
    ports::Ports,
    setup::{Place, Setup},
};

impl Jail<'_> {
    /// All actions of the jail; none if they can't be determined.
    pub(super) fn actions(&mut self) -> Option<(Vec<Action>, Place)> {
        let (text, place) = self.text("action")?;
        match text {
            Ok(text) => Some((actions::actions(&text), place)),
            Err(what) => {
                self.warn(&place, format!("action {what}; look yourself what else it does than ban"));
                let banaction = self.plain("banaction")?;
                Some((actions::actions(&banaction.0), banaction.1))
            }
        }
    }

    pub(super) fn ports(&mut self, actions: Option<&[Action]>) -> (Ports, String) {
        let bans: Vec<&Action> = actions.unwrap_or_default().iter().filter(|action| action.may_ban()).collect();
        let key = self.text("port");
        if let Some(action) = bans.iter().find(|action| action.kind == Kind::BanAll) {
            let place = self.get("banaction").filter(|found| !found.value.place.shipped).or_else(|| self.get("action"));
            let from = place.map_or_else(|| "fail2ban's defaults".to_owned(), |found| found.value.place.to_string());
            return (Ports::All, format!("{}, {from}", action.call.name));
        }
        // An action may be given its port itself.
        let own = bans.iter().find_map(|action| {
            let port = action.call.option("port").filter(|port| !port.trim().is_empty())?;
            Some((port.to_owned(), action.call.option("protocol").unwrap_or("tcp").to_owned()))
        });
        let place = key.as_ref().map(|(_, place)| place.clone());
        let port = own.as_ref().map(|(port, _)| Ok(port.clone())).or_else(|| key.map(|(text, _)| text));
        let protocol = own.map(|(_, protocol)| protocol).or_else(|| self.plain("protocol").map(|(text, _)| text));
        let ports = match port {
            Some(Ok(port)) => {
                Ports::parse(&port, &protocol.unwrap_or_default()).map_err(|what| (port, what.to_string()))
            }
            Some(Err(what)) => Err((String::new(), what.to_string())),
            None => Ok(Ports::All),
        };
        let from = place.as_ref().map_or_else(|| "the default there".to_owned(), ToString::to_string);
        match ports {
            Ok(ports) => (ports, from),
            Err((port, what)) => {
                let what = format!(
                    "port = {}: {what}; bans of this jail close all ports until ports is corrected in the drop-in",
                    shortened(&port)
                );
                match &place {
                    Some(place) => self.warn(place, what),
                    None => self.warnings.push(Warning { place: None, what }),
                }
                (Ports::All, from)
            }
        }
    }

    /// Whether bans refuse, if somebody has chosen that.
    pub(super) fn blocktype(&self, actions: Option<&[Action]>) -> Option<(bool, String)> {
        let bans = actions.unwrap_or_default().iter().filter(|action| matches!(action.kind, Kind::Ban | Kind::BanAll));
        for action in bans {
            for key in ["blocktype", "rich-blocktype"] {
                if let Some(refuses) = action.call.option(key).and_then(actions::refuses) {
                    let key = ["action", "banaction", "banaction_allports"];
                    let written =
                        key.iter().filter_map(|key| self.get(key)).find(|found| found.value.raw.contains("blocktype"));
                    let from =
                        written.map_or_else(|| "fail2ban's defaults".to_owned(), |found| found.value.place.to_string());
                    return Some((refuses, from));
                }
            }
            let path = Path::new("action.d").join(format!("{}.conf", action.call.name));
            if let Ok(Some(file)) = Setup::read_one(&path, self.files) {
                for key in ["blocktype", "rich-blocktype"] {
                    let found = file.get("Init", key).filter(|found| !found.value.place.shipped);
                    if let Some(found) = found
                        && let Some(refuses) = actions::refuses(&found.value.raw)
                    {
                        return Some((refuses, found.value.place.to_string()));
                    }
                }
            }
        }
        let (text, place) = self.plain("blocktype").filter(|(_, place)| !place.shipped)?;
        Some((actions::refuses(&text)?, place.to_string()))
    }
}
