// SPDX-License-Identifier: MIT OR Apache-2.0
// The page: what is drawn when.

import { setAccess } from "./access.js";
import { Bans } from "./bans.js";
import { Wardend, sentence, serverTime, startDaemon, viewersAddress } from "./bus.js";
import { $, say, setServerTime, single, soon } from "./dom.js";
import { showFleet } from "./fleet.js";
import { askBan, askIgnore, prepareDialogs } from "./orders.js";
import { showChart, showIgnored, showJails, showNumbers, showOwnAddress, showSources, showState } from "./overview.js";
import { followTheme } from "./theme.js";

const wardend = new Wardend();
const bans = new Bans(wardend);

/** @type {string[]} */
let jails = [];
let address = "";

/**
 * What may be asked for while the daemon goes away, which is shown by itself, or while access changes: then all
 * is asked for again.
 * @param {() => Promise<any>} action
 */
function attempt(action) {
    return single(async () => {
        if (!wardend.present)
            return;
        try {
            await action();
        } catch (thrown) {
            const error = /** @type {any} */ (thrown);
            if (wardend.present && !error.problem)
                say(sentence(error).message, true);
        }
    });
}

const parts = {
    numbers: attempt(() => showNumbers(wardend)),
    chart: attempt(() => showChart(wardend)),
    sources: attempt(() => showSources(wardend, () => jails)),
    jails: attempt(async () => {
        const first = jails.length === 0;
        jails = await showJails(wardend);
        bans.offerJails(jails);
        // Which jails could ban the user is known now.
        if (first)
            parts.own();
    }),
    ignored: attempt(() => showIgnored(wardend)),
    fleet: attempt(showFleet),
    own: attempt(() => showOwnAddress(wardend, address, () => jails)),
};

// The table follows at once; under an attack, the rest is drawn every few seconds.
const counted = soon(2000, () => {
    parts.numbers();
    parts.chart();
    parts.sources();
    parts.jails();
    parts.fleet();
});
const lists = soon(500, () => {
    parts.jails();
    parts.ignored();
    parts.own();
});

wardend.addEventListener("presence", () => {
    $("absent").hidden = wardend.present === true;
    $("present").hidden = wardend.present !== true;
    if (!wardend.present) {
        $("absent-error").hidden = !wardend.problem;
        $("absent-error").textContent = wardend.problem || "";
        return;
    }
    wardend.problem = "";
    showState(wardend);
    for (const part of Object.values(parts))
        part();
});
wardend.addEventListener("connect", () => bans.load());
wardend.addEventListener("admin", () => setAccess(wardend.admin));
wardend.addEventListener("bans", () => {
    bans.refresh();
    counted();
    lists();
});
wardend.addEventListener("activity", counted);
wardend.addEventListener("jails", lists);
wardend.addEventListener("properties", () => {
    showState(wardend);
    counted();
    // A signal may have been missed.
    if (wardend.properties.Generation !== bans.generation)
        bans.refresh();
});

$("ban").addEventListener("click", () => askBan(wardend, jails));
$("ignore").addEventListener("click", () => askIgnore(wardend, jails));
$("order-dialog").addEventListener("close", () => lists());
$("chart-period").addEventListener("change", parts.chart);
$("start").addEventListener("click", () => {
    startDaemon().catch(error => {
        $("absent-error").textContent = sentence(error).message;
        $("absent-error").hidden = false;
    });
});
setInterval(() => {
    if (!document.hidden)
        counted();
}, 60_000);

followTheme();
prepareDialogs();
setAccess(wardend.admin);
serverTime().then(setServerTime, () => {});
viewersAddress().then(found => {
    address = found;
    parts.own();
});
wardend.start();
