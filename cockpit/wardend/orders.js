// SPDX-License-Identifier: MIT OR Apache-2.0
// The dialogs that ban, ignore and pause. What the daemon answers is shown beside the field that it is about.

import { names, plain, sentence, variants } from "./bus.js";
import { $, h, say } from "./dom.js";

/** @typedef {import("./bus.js").Wardend} Wardend */

/** @type {[string, string][]} */
const DURATIONS = [
    ["10min", "10 minutes"], ["1h", "1 hour"], ["1day", "1 day"], ["1week", "1 week"], ["infinity", "Permanently"],
    ["other", "Other…"],
];

/** Beside which field an error is shown. */
/** @type {Record<string, string>} */
const FIELDS = {
    InvalidAddress: "addresses", NeverBanned: "addresses", Spared: "addresses", NotIgnored: "addresses",
    NoSuchJail: "jail", InvalidArgument: "for",
};

/** Bans up to this number are ordered one by one, so that their connections are closed as their jail says. */
const FEW = 20;

/**
 * @typedef {object} Order
 * @property {string} title
 * @property {string} text
 * @property {string} button
 * @property {string} [addresses] what is in the field at first; without it, there is no field
 * @property {[string, string][]} [jails] without it, there is no field
 * @property {[string, string]} duration the first choice
 * @property {(values: Values) => Promise<Refusal[]>} carryOut
 */
/** @typedef {{addresses: string[], jail: string, duration: string, reason: string}} Values */
/** @typedef {{address: string, name: string, message: string}} Refusal */

/** @type {Order | null} */
let current = null;

/** @returns {HTMLDialogElement} */
function dialog() {
    return $("order-dialog");
}

/** @param {Order} order */
function open(order) {
    current = order;
    $("order-title").textContent = order.title;
    $("order-text").textContent = order.text;
    $("order-do").textContent = order.button;
    $("field-addresses").hidden = order.addresses === undefined;
    $("field-jail").hidden = order.jails === undefined;
    /** @type {HTMLTextAreaElement} */ ($("order-addresses")).value = order.addresses || "";
    $("order-jail").replaceChildren(...(order.jails || []).map(([value, text]) => h("option", { value }, text)));
    const durations = [order.duration, ...DURATIONS.filter(([value]) => value !== order.duration[0])];
    $("order-for").replaceChildren(...durations.map(([value, text]) => h("option", { value }, text)));
    for (const field of ["order-reason", "order-other"])
        /** @type {HTMLInputElement} */ ($(field)).value = "";
    $("order-other").hidden = true;
    complain([]);
    dialog().showModal();
}

/** @param {Refusal[]} refusals */
function complain(refusals) {
    for (const field of ["addresses", "jail", "for", "reason", "whole"]) {
        const about = refusals.filter(({ name }) => (FIELDS[name] || "whole") === field);
        const place = $(`error-${field}`);
        place.replaceChildren(...about.map(({ address, message }) => h("p", null, message.includes(address) ? message : `${address}: ${message}`)));
        place.hidden = about.length === 0;
        const input = document.getElementById(`order-${field}`);
        if (about.length > 0)
            input?.setAttribute("aria-invalid", "true");
        else
            input?.removeAttribute("aria-invalid");
    }
}

/** @param {Event} event */
async function submit(event) {
    event.preventDefault();
    if (!current)
        return;
    const order = current;
    const text = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id)).value.trim();
    const addresses = text("order-addresses").split(/[\s,;]+/).filter(address => address);
    if (order.addresses !== undefined && addresses.length === 0) {
        complain([{ address: "", name: "InvalidAddress", message: "Enter at least one address or network." }]);
        $("order-addresses").focus();
        return;
    }
    const chosen = text("order-for");
    const duration = chosen === "other" ? text("order-other") : chosen;
    if (chosen === "other" && !duration) {
        complain([{ address: "", name: "InvalidArgument", message: "Enter a duration, such as 2weeks." }]);
        $("order-other").focus();
        return;
    }
    const button = /** @type {HTMLButtonElement} */ ($("order-do"));
    button.disabled = true;
    /** @type {Refusal[]} */
    let refusals;
    try {
        refusals = await order.carryOut({ addresses, jail: text("order-jail"), duration, reason: text("order-reason") });
    } catch (error) {
        refusals = [{ address: "", ...sentence(error) }];
    }
    button.disabled = false;
    if (refusals.length === 0) {
        dialog().close();
        return;
    }
    // What was refused stays in the field.
    const remaining = refusals.map(({ address }) => address).filter(address => address);
    if (remaining.length > 0)
        /** @type {HTMLTextAreaElement} */ ($("order-addresses")).value = remaining.join("\n");
    complain(refusals);
    const first = FIELDS[refusals[0].name] || "addresses";
    const other = first === "for" && chosen === "other";
    $(other ? "order-other" : `order-${first}`).focus();
}

export function prepareDialogs() {
    /** @type {HTMLFormElement} */ (dialog().querySelector("form")).addEventListener("submit", submit);
    $("order-for").addEventListener("change", () => {
        const other = /** @type {HTMLSelectElement} */ ($("order-for")).value === "other";
        $("order-other").hidden = !other;
        if (other)
            $("order-other").focus();
    });
    for (const close of document.querySelectorAll("[data-close]"))
        close.addEventListener("click", () => close.closest("dialog")?.close());
}

/**
 * @param {Record<string, any>[]} answers
 * @returns {Refusal[]}
 */
function refused(answers) {
    return answers.map(plain).filter(({ Result }) => Result === "refused").map(({ Address, Error: name, Message }) => ({
        address: Address, name: sentence({ name }).name, message: Message,
    }));
}

/**
 * @param {string} done
 * @param {string[]} addresses
 * @param {Refusal[]} refusals
 */
function report(done, addresses, refusals) {
    const not = new Set(refusals.map(({ address }) => address));
    const good = addresses.filter(address => !not.has(address));
    if (good.length > 0)
        say(`${done} ${good.length > 3 ? `${good.length} addresses` : good.join(", ")}.`);
}

/**
 * The jails to choose from, which somebody quick may need before the page has asked for them.
 * @param {Wardend} wardend
 * @param {string[]} known
 */
async function choice(wardend, known) {
    if (known.length > 0)
        return known;
    try {
        const [jails] = await wardend.call("ListJails");
        return names(jails);
    } catch (error) {
        say(sentence(error).message, true);
        return [];
    }
}

/**
 * @param {Wardend} wardend
 * @param {string[]} known the jails
 * @param {string} [address]
 */
export async function askBan(wardend, known, address = "") {
    const jails = await choice(wardend, known);
    open({
        title: "Ban",
        text: "An address stands for its source: by default, an IPv6 address for its /64.",
        button: "Ban",
        addresses: address,
        jails: [["", "From all services"], ...jails.map(jail => /** @type {[string, string]} */ ([jail, jail]))],
        duration: ["", "As long as the jail says"],
        carryOut: async ({ addresses, jail, duration, reason }) => {
            const options = variants({ For: duration, Reason: reason });
            /** @type {Refusal[]} */
            let refusals = [];
            if (addresses.length > FEW) {
                const entries = addresses.map(Address => variants({ Address }));
                const [answers] = await wardend.call("BanMany", entries, { ...options, ...variants({ Jail: jail }) });
                refusals = refused(answers);
            } else {
                for (const one of addresses) {
                    try {
                        const [, , ban] = await wardend.call("Ban", one, jail, options);
                        // Without a jail, there is an answer for each of those that were chosen.
                        refusals.push(...refused(plain(ban).Outcomes || []));
                    } catch (error) {
                        refusals.push({ address: one, ...sentence(error) });
                    }
                }
            }
            report("Banned", addresses, refusals);
            return refusals;
        },
    });
}

/**
 * @param {Wardend} wardend
 * @param {string[]} known the jails
 * @param {string} [address]
 */
export async function askIgnore(wardend, known, address = "") {
    const jails = await choice(wardend, known);
    open({
        title: "Ignore",
        text: "Who is ignored is never counted or banned, and bans of their addresses end.",
        button: "Ignore",
        addresses: address,
        jails: [["", "All jails"], ...jails.map(jail => /** @type {[string, string]} */ ([jail, jail]))],
        duration: ["1day", "1 day"],
        carryOut: async ({ addresses, jail, duration, reason }) => {
            const For = duration === "infinity" ? "" : duration;
            const [answers] = await wardend.call("Ignore", addresses, variants({ For, Jail: jail, Reason: reason }));
            const refusals = refused(answers);
            report("Ignoring", addresses, refusals);
            return refusals;
        },
    });
}

/**
 * @param {Wardend} wardend
 * @param {string} jail
 */
export function askPause(wardend, jail) {
    open({
        title: `Pause ${jail}`,
        text: "A paused jail counts failures but bans nobody. Bans in force stay.",
        button: "Pause",
        duration: ["1h", "1 hour"],
        carryOut: async ({ duration, reason }) => {
            const For = duration === "infinity" ? "" : duration;
            await wardend.call("PauseJail", jail, variants({ For, Reason: reason }));
            say(`Paused ${jail}.`);
            return [];
        },
    });
}
