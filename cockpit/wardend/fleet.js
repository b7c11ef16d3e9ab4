// SPDX-License-Identifier: MIT OR Apache-2.0
// Where wardend-fleet runs: the brokers, the other machines, and which of them ban an address.

import { plain } from "./bus.js";
import { $, absolute, ago, h, number, row, table } from "./dom.js";

const NAME = "org.wardend1.Fleet";
const PATH = "/org/wardend1/fleet";

/** Machines that are listed; those that need a look come first. */
const MOST = 50;

/** @type {Record<string, string>} */
const REFUSALS = {
    network: "never: wider than a source", jail: "never: the jail is not shared here",
    never: "never: a broker, a gateway or a resolver",
};

/**
 * Asks wardend-fleet, which everybody may. The bus does not start it.
 * @param {string} member
 * @param {string} type
 * @param {...string} parameters
 * @returns {Promise<any[] | null>} null if it does not run
 */
async function ask(member, type, ...parameters) {
    const client = cockpit.dbus(NAME, { bus: "system" });
    try {
        return await client.call(PATH, NAME, member, parameters, { type });
    } catch {
        return null;
    } finally {
        client.close();
    }
}

/**
 * @param {string} state
 * @param {boolean} good
 */
function label(state, good) {
    return good ? state : h("span", { class: "label danger" }, state);
}

/** The section of the fleet, which is there only where there is one. */
export async function showFleet() {
    const answer = await ask("Status", "");
    $("fleet").hidden = answer === null;
    if (answer === null)
        return;
    const status = plain(answer[0]);
    /** @type {Record<string, any>[]} */
    const brokers = answer[1].map(plain);
    /** @type {Record<string, any>[]} */
    const machines = answer[2].map(plain);
    const count = (/** @type {number} */ many, /** @type {string} */ one, /** @type {string} */ more) =>
        `${number(many)} ${many === 1 ? one : more}`;
    $("fleet-state").textContent = status.State === "left"
        ? `${status.Machine} has left the fleet.`
        : `${status.Machine} shares ${count(status.Sent, "ban", "bans")}. Of others, ${count(status.Bans, "ban is", "bans are")} `
            + `in force here, and ${count(status.Suspects, "source is", "sources are")} suspected `
            + `(machines that it takes for a ban: ${number(status.Quorum)}).`;
    $("fleet-problem").hidden = !status.Problem;
    $("fleet-problem").textContent = status.Problem;
    const toBrokers = ["Broker", "State", "Since", "Problem"];
    $("brokers").replaceChildren(table(toBrokers, brokers.map(broker => row(toBrokers, [
        broker.Broker, label(broker.State, broker.State === "connected"), ago(broker.SinceUSec), broker.Problem || "—",
    ])), { "aria-label": "Brokers" }));
    const order = ["muted", "behind", "in-step"];
    machines.sort((a, b) => order.indexOf(a.State) - order.indexOf(b.State));
    const columns = ["Machine", "State", "Last word", "Bans", "Did not count", "Problem"];
    const rows = machines.slice(0, MOST).map(machine => row(columns, [
        machine.Machine,
        label(machine.State === "muted" ? `muted until ${absolute(machine.MutedUntilUSec)}` : machine.State, machine.State === "in-step"),
        ago(machine.LastUSec), number(machine.Voices), number(machine.Refused), machine.Problem || "—",
    ]));
    $("machines").replaceChildren(machines.length === 0
        ? h("p", null, "No other machine has said anything yet.")
        : table(columns, rows, { "aria-label": "Other machines" }));
    if (machines.length > MOST)
        $("machines").append(h("p", null, `${number(machines.length - MOST)} more machines are not shown; wardenctl fleet status lists them.`));
}

/**
 * What other machines say of an address; null if they say nothing.
 * @param {string} address
 * @returns {Promise<Element | null>}
 */
export async function fleetView(address) {
    const answer = await ask("Explain", "s", address);
    if (answer === null)
        return null;
    const known = plain(answer[0]);
    /** @type {Record<string, any>[]} */
    const voices = answer[1].map(plain);
    if (voices.length === 0 && !known.PardonedBy)
        return null;
    /** @type {Record<string, string>} */
    const follows = {
        ban: `Enough machines ban it: banned here until ${absolute(known.UntilUSec)}.`,
        suspect: `Its first failure here results in a ban, until ${absolute(known.UntilUSec)}.`,
    };
    const columns = ["Machine", "Jail", "Ban", "Heard", "Counts until"];
    const rows = voices.map(voice => row(columns, [
        voice.Machine, voice.Jail, `#${number(voice.Count)}`, ago(voice.HeardUSec),
        voice.Refusal ? REFUSALS[voice.Refusal] || "never" : absolute(voice.UntilUSec),
    ]));
    return h("section", { class: "known" },
        h("h3", null, "Fleet"),
        h("p", null, known.PardonedBy
            ? `Pardoned by ${known.PardonedBy} until ${absolute(known.PardonedUntilUSec)}.`
            : follows[known.Decision] || "Not banned here by the fleet."),
        known.Refusal && h("p", { class: "error" }, `wardend has refused the ban: ${known.Refusal}`),
        voices.length > 0 && table(columns, rows, { "aria-label": "Machines that ban it" }));
}
