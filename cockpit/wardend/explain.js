// SPDX-License-Identifier: MIT OR Apache-2.0
// What is known about an address: its state in each jail, the attempts, and the very records of the journal.

import { plain, record, sentence } from "./bus.js";
import { $, absolute, h, left, number, row, table } from "./dom.js";
import { fleetView } from "./fleet.js";

/** @typedef {import("./bus.js").Wardend} Wardend */

const COLUMNS = ["Time", "Rule", "User", "Address", "Record"];

/** Records that are read at a time; more would only hide the last ones. */
const MOST = 20;

const GONE = "Not available: the record is no longer in the journal, or your account may not read it.";

/**
 * @param {[number, string, string, string, string][]} attempts
 * @param {string} jail
 */
function attemptsTable(attempts, jail) {
    const shown = attempts.slice(-MOST).reverse();
    const rows = shown.map(([time, rule, user, address, cursor]) => {
        const message = h("code", null, "…");
        record(cursor).then(
            text => { message.textContent = text ?? GONE; },
            () => { message.textContent = GONE; });
        return row(COLUMNS, [absolute(time), rule, user || "—", address, message]);
    });
    const omitted = attempts.length - shown.length;
    return h("div", null,
        table(COLUMNS, rows, { "aria-label": `Attempts in ${jail}`, class: "attempts" }),
        omitted > 0 && h("p", null, `${number(omitted)} earlier attempts are not shown.`));
}

/** @param {Record<string, any>} known */
function jailView(known) {
    const facts = [
        known.State === "banned" && h("span", null, "Left: ", left(known.UntilUSec, known.Permanent)),
        known.Reason && `Reason: ${known.Reason}`,
        known.BanCount > 0 && `Known bans: ${number(known.BanCount)}`,
        known.LoginUSec && `Last login: ${absolute(known.LoginUSec)}`,
    ].filter(fact => fact);
    return h("section", { class: "known" },
        h("h3", null, `${known.Jail}: ${known.State}`),
        h("p", null, known.Because),
        facts.length > 0 && h("ul", { class: "facts" }, ...facts.map(fact => h("li", null, fact))),
        known.Attempts?.length > 0 && attemptsTable(known.Attempts, known.Jail));
}

/**
 * Fills `place` with what each jail knows about `address`.
 * @param {Wardend} wardend
 * @param {string} address
 * @param {Element} place
 */
export async function explain(wardend, address, place) {
    try {
        const [[jails], fleet] = await Promise.all([wardend.call("Explain", address), fleetView(address)]);
        const known = jails.map(plain);
        const news = known.filter(jail => jail.State !== "clear" || jail.BanCount > 0 || jail.Attempts?.length > 0);
        place.replaceChildren(...(news.length > 0 ? news : known.slice(0, 1)).map(jailView));
        if (fleet)
            place.append(fleet);
    } catch (error) {
        place.replaceChildren(h("p", { class: "error" }, sentence(error).message));
    }
}

/**
 * @param {Wardend} wardend
 * @param {string} address
 */
export function explainInDialog(wardend, address) {
    $("explain-title").textContent = address;
    $("explain-body").replaceChildren(h("p", null, "Loading…"));
    /** @type {HTMLDialogElement} */ ($("explain-dialog")).showModal();
    explain(wardend, address, $("explain-body"));
}
