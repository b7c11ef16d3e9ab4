// SPDX-License-Identifier: MIT OR Apache-2.0
// All but the bans: the state, the chart, the sources, the jails, and who is never banned.

import { change } from "./access.js";
import { names, plain, sentence, settings, variants } from "./bus.js";
import { $, absolute, ago, arrange, button, h, isForever, left, now, number, row, say, span, svg, table } from "./dom.js";
import { explainInDialog } from "./explain.js";
import { askBan, askIgnore, askPause } from "./orders.js";

/** @typedef {import("./bus.js").Wardend} Wardend */

const HOUR = 3600e6;
const DAY = 24 * HOUR;

/** @type {Record<string, [number, number, string]>} length, step, and the name of a step */
const PERIODS = { "24h": [DAY, HOUR, "hour"], "7d": [7 * DAY, HOUR, "hour"], "90d": [90 * DAY, DAY, "day"] };

/** @type {Record<string, string>} */
const FIREWALL = { up: "firewalld is running", starting: "firewalld is being prepared" };

/** @param {Wardend} wardend */
export function showState(wardend) {
    const { properties } = wardend;
    const problems = /** @type {[string, string, string][]} */ (properties.Problems || []);
    const notes = /** @type {[string, string, string][]} */ (properties.Notes || []);
    const bans = properties.NBans === 1 ? "1 ban" : `${number(properties.NBans)} bans`;
    const good = properties.State === "running";
    const state = $("state");
    state.className = good ? "good" : "bad";
    const firewall = FIREWALL[properties.FirewallState] || "firewalld is down";
    state.textContent = good
        ? `wardend ${properties.Version} is running, ${firewall}, ${bans} in force.`
        : `wardend ${properties.Version} is running with ${problems.length === 1 ? "a problem" : `${problems.length} problems`}, `
            + `${firewall}, ${bans} decided.`;
    const list = $("problems");
    list.hidden = problems.length + notes.length === 0;
    list.className = good ? "notes" : "";
    list.replaceChildren(...[...problems, ...notes].map(([kind, text, remedy]) =>
        h("li", { "data-kind": kind }, text, remedy && " ", remedy && h("strong", null, remedy))));
}

/**
 * The numbers of the last 24 hours.
 * @param {Wardend} wardend
 */
export async function showNumbers(wardend) {
    const [steps] = await wardend.call("History", Math.max(0, Math.round(now() - DAY + HOUR)), 0, HOUR);
    const sum = (/** @type {number} */ index) => steps.reduce((total, step) => total + Number(step[index]), 0);
    const { properties } = wardend;
    /** @type {[string, number][]} */
    const numbers = [
        ["Bans now", properties.NBans], ["Failures in 24 h", sum(1)], ["Bans in 24 h", sum(2)],
        ["Spared in 24 h", sum(3)], ["Leaks", properties.NLeaks],
    ];
    $("numbers").replaceChildren(...numbers.map(([name, count]) => h("div", null, h("dt", null, name), h("dd", null, number(count)))));
}

/**
 * The bans that somebody ordered, which are not among those that jails decided.
 * @param {[number, number, number, number, Record<string, { t: string, v: any }>]} step
 * @returns {number}
 */
function byOrder(step) {
    return Number(plain(step[4]).Ordered ?? 0);
}

/** @param {Wardend} wardend */
export async function showChart(wardend) {
    const period = /** @type {HTMLSelectElement} */ ($("chart-period")).value;
    const [length, step, name] = PERIODS[period];
    const [steps] = await wardend.call("History", Math.max(0, Math.round(now() - length + step)), 0, step);
    const [failures, bans] = [1, 2].map(index => steps.map(values => Number(values[index])));
    const [most, mostBans] = [failures, bans].map(values => Math.max(1, ...values));
    const total = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0);
    const label = (/** @type {number} */ usec) => step === DAY
        ? new Date(usec / 1000).toISOString().slice(0, 10)
        : new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" }).format(new Date(usec / 1000));
    const width = 720 / Math.max(1, steps.length);
    const summary = `Failures and bans per ${name}: ${number(total(failures))} failures, at most ${number(Math.max(0, ...failures))} `
        + `per ${name}; ${number(total(bans))} bans, at most ${number(Math.max(0, ...bans))}.`;
    const groups = steps.map((values, index) => {
        const upper = values[1] / most * 96;
        const lower = values[2] / mostBans * 48;
        const x = index * width;
        return svg("g", null,
            svg("title", null, `${label(values[0])}: ${number(values[1])} failures, ${number(values[2])} bans, ${number(values[3])} spared`
                + (byOrder(values) > 0 ? `, ${number(byOrder(values))} bans ordered` : "")),
            svg("rect", { class: "hit", x, y: 0, width, height: 160 }),
            values[1] > 0 && svg("rect", { class: "failures", x: x + width * .1, y: 100 - Math.max(upper, 2), width: width * .8, height: Math.max(upper, 2) }),
            values[2] > 0 && svg("rect", { class: "bans", x: x + width * .1, y: 104, width: width * .8, height: Math.max(lower, 2) }));
    });
    $("chart").replaceChildren(
        svg("svg", { viewBox: "0 0 720 154", preserveAspectRatio: "none", role: "img", "aria-label": summary },
            svg("line", { x1: 0, x2: 720, y1: 102, y2: 102 }), ...groups),
        h("p", { class: "axis" }, h("span", null, steps.length > 0 && label(steps[0][0])),
            h("span", { class: "legend" }, h("i", { class: "failures" }), `failures, at most ${number(Math.max(0, ...failures))}`,
                h("i", { class: "bans" }), `bans, at most ${number(Math.max(0, ...bans))}`),
            h("span", null, "now")));
    const columns = [step === DAY ? "Day" : "Hour", "Failures", "Bans", "Spared", "Ordered"];
    const busy = steps.filter(values => values[1] + values[2] + values[3] + byOrder(values) > 0).reverse();
    $("chart-table").replaceChildren(busy.length === 0
        ? h("p", null, "Nothing has happened in this period.")
        : table(columns, busy.map(values => row(columns, [label(values[0]), ...[values[1], values[2], values[3], byOrder(values)].map(number)])),
            { "aria-label": `Failures and bans per ${name}` }));
}

/**
 * @param {Wardend} wardend
 * @param {() => string[]} jails
 */
export async function showSources(wardend, jails) {
    const [sources] = await wardend.call("TopSources", variants({ Order: "failures" }), 20);
    const columns = ["Source", "Failures", "Bans", "Last seen", "Now", "Actions"];
    const rows = sources.map(([source, failures, bans, last, more]) => row(columns, [
        source, number(failures), number(bans), ago(last), plain(more).Banned ? "banned" : "—",
        h("span", { class: "actions" },
            button("Explain", () => explainInDialog(wardend, source), { "aria-label": `Explain ${source}` }),
            change("Ban…", () => askBan(wardend, jails(), source), { "aria-label": `Ban ${source}` })),
    ]));
    $("sources").replaceChildren(rows.length === 0
        ? h("p", null, "Nobody has failed.")
        : table(columns, rows, { "aria-labelledby": "sources-title" }));
}

/** @type {Set<string>} the jails with a filter, which ban by themselves */
let watching = new Set();

/** @type {Map<string, HTMLTableRowElement>} the opened jails */
const opened = new Map();

/**
 * @param {Wardend} wardend
 * @returns {Promise<string[]>} their names
 */
export async function showJails(wardend) {
    const [jails] = await wardend.call("ListJails");
    const columns = ["Jail", "Filter", "Limit", "Ban", "Bans", "Failing", "Sessions", "Spared", "State", "Actions"];
    const all = await Promise.all(jails.map(async ([name, bans, failing, sessions, path, more]) => {
        const of = plain(more);
        const { Paused, PausedUntilUSec } = await wardend.jail(path);
        const toggle = button(name, () => toggleJail(name, toggle, columns.length), {
            class: "source", "aria-expanded": String(opened.has(name)),
        });
        return row(columns, [
            toggle, of.Filter || "none",
            of.Filter ? `${number(of.MaxRetry)} in ${span(of.FindTimeUSec)}` : "—",
            isForever(of.BanTimeUSec) ? "permanent" : span(of.BanTimeUSec),
            number(bans), number(failing), number(sessions), number(of.Spared),
            Paused ? h("span", { class: "label danger" }, "paused: ", left(PausedUntilUSec, isForever(PausedUntilUSec))) : "active",
            Paused
                ? change("Resume", () => resume(wardend, name), { "aria-label": `Resume ${name}` })
                : change("Pause…", () => askPause(wardend, name), { "aria-label": `Pause ${name}` }),
        ]);
    }));
    const rows = all.flatMap((line, index) => {
        const settingsRow = opened.get(jails[index][0]);
        return settingsRow ? [line, settingsRow] : [line];
    });
    const old = $("jails").querySelector("tbody");
    const focused = document.activeElement?.closest("#jails") ? document.activeElement.getAttribute("aria-label") || document.activeElement.textContent : null;
    if (old)
        arrange(old, rows);
    else
        $("jails").replaceChildren(table(columns, rows, { "aria-labelledby": "jails-title" }));
    if (focused !== null) {
        const again = [...$("jails").querySelectorAll("button")].find(one => (one.getAttribute("aria-label") || one.textContent) === focused);
        again?.focus();
    }
    watching = new Set(jails.filter(([, , , , , more]) => plain(more).Filter).map(([name]) => name));
    return names(jails);
}

/**
 * @param {string} name
 * @param {HTMLButtonElement} toggle
 * @param {number} width
 */
async function toggleJail(name, toggle, width) {
    const open = opened.get(name);
    toggle.setAttribute("aria-expanded", String(!open));
    if (open) {
        open.remove();
        opened.delete(name);
        return;
    }
    const place = h("div", null, h("p", null, "Loading…"));
    const line = h("tr", { role: "row", class: "opened" },
        h("td", { role: "cell", colspan: width, "aria-label": `Settings of ${name}` }, place));
    opened.set(name, line);
    toggle.closest("tr")?.after(line);
    const columns = ["Setting", "Value", "From"];
    try {
        const list = await settings(name);
        place.replaceChildren(
            h("p", null, "As in the files now; what was edited since the last reload is not in effect yet."),
            table(columns, list.map(([key, value, from]) => row(columns, [h("code", null, key), h("code", null, value), from])),
                { "aria-label": `Settings of ${name}`, class: "settings" }));
    } catch (error) {
        place.replaceChildren(h("p", { class: "error" }, sentence(error).message));
    }
}

/**
 * @param {Wardend} wardend
 * @param {string} jail
 */
async function resume(wardend, jail) {
    try {
        await wardend.call("ResumeJail", jail);
        say(`Resumed ${jail}.`);
    } catch (error) {
        say(sentence(error).message, true);
    }
}

/** @param {Wardend} wardend */
export async function showIgnored(wardend) {
    const [entries] = await wardend.call("ListIgnored");
    const columns = ["Who", "Jails", "Left", "From", "Actions"];
    const rows = entries.map(plain).map(entry => {
        const addresses = entry.Addresses?.length > 0 ? entry.Addresses.join(", ") : "not resolved";
        const ordered = entry.Origin === "command";
        return row(columns, [
            entry.Name ? `${entry.Name} (${addresses})` : entry.Source,
            entry.Jails?.length > 0 ? entry.Jails.join(", ") : "all",
            left(entry.UntilUSec ?? -1, entry.Permanent ?? true),
            ordered
                ? h("span", { title: absolute(entry.SinceUSec) }, ["by order", entry.Reason].filter(part => part).join(": "))
                : `${entry.File}:${entry.Line}`,
            ordered && change("No longer ignore", () => unignore(wardend, entry), { "aria-label": `No longer ignore ${entry.Source}` }),
        ]);
    });
    $("ignored").replaceChildren(rows.length === 0
        ? h("p", null, "Nobody else. Put your own addresses into ignoreip, or ignore them for a time.")
        : table(columns, rows, { "aria-labelledby": "ignored-title" }));
}

/**
 * @param {Wardend} wardend
 * @param {Record<string, any>} entry
 */
async function unignore(wardend, entry) {
    try {
        // Orders for one jail name it; without a name, those for all jails would end as well.
        const [answers] = await wardend.call("Unignore", [entry.Source], variants({ Jail: entry.Jails?.[0] }));
        const refusal = answers.map(plain).find(answer => answer.Result === "refused");
        say(refusal ? refusal.Message : `${entry.Source} is no longer ignored.`, Boolean(refusal));
    } catch (error) {
        say(sentence(error).message, true);
    }
    showIgnored(wardend);
}

/**
 * Warns if the address from which the user looks at the page could be banned.
 * @param {Wardend} wardend
 * @param {string} address
 * @param {() => string[]} jails
 */
export async function showOwnAddress(wardend, address, jails) {
    const place = $("own");
    place.hidden = true;
    if (!address)
        return;
    const [known] = await wardend.call("Explain", address);
    const open = known.map(plain).filter(({ Jail, State }) => watching.has(Jail) && State !== "ignored" && State !== "spared");
    if (open.length === 0)
        return;
    place.replaceChildren(
        h("span", null, `Your address ${address} is neither ignored nor spared in ${open.map(({ Jail }) => Jail).join(", ")}: `
            + "a few wrong passwords from there would ban you. "),
        change("Ignore it…", () => askIgnore(wardend, jails(), address)));
    place.hidden = false;
}
