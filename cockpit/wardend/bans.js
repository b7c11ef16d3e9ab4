// SPDX-License-Identifier: MIT OR Apache-2.0
// The table of bans: a window of 50 over however many there are. The daemon searches and sorts.

import { change } from "./access.js";
import { plain, sentence, variants } from "./bus.js";
import { $, ago, arrange, button, h, left, number, row, say, single, soon } from "./dom.js";
import { explain, explainInDialog } from "./explain.js";

/** @typedef {import("./bus.js").Wardend} Wardend */

const PAGE = 50;
const COLUMNS = ["Source", "Jail", "Since", "Left", "Ban", "Failures", "Why", "Actions"];

/**
 * @typedef {object} Ban
 * @property {string} jail
 * @property {string} source
 * @property {number} since
 * @property {number} until
 * @property {number} count
 * @property {number} failures
 * @property {string} rule
 * @property {string} reason
 * @property {Record<string, any>} more
 */

export class Bans {
    /** @param {Wardend} wardend */
    constructor(wardend) {
        this.wardend = wardend;
        this.offset = 0;
        this.order = "since";
        this.descending = true;
        /** The number of the last request, so that a late answer to an earlier one is not shown. */
        this.asked = 0;
        /** The number of the last change that the table shows. */
        this.generation = 0;
        this.drawn = false;
        /** @type {Map<string, {signature: string, row: HTMLTableRowElement}>} */
        this.rows = new Map();
        /** @type {Map<string, HTMLTableRowElement>} the opened rows */
        this.opened = new Map();
        this.load = single(() => this.ask());
        this.refresh = soon(150, () => this.load());

        const search = soon(200, () => this.first());
        $("search").addEventListener("input", search);
        $("jail").addEventListener("change", () => this.first());
        $("origin").addEventListener("change", () => this.first());
        $("bans-what").addEventListener("submit", event => {
            event.preventDefault();
            this.first();
        });
        for (const sort of document.querySelectorAll("button.sort"))
            sort.addEventListener("click", () => this.sort(/** @type {HTMLElement} */ (sort).dataset.order || ""));
        $("previous").addEventListener("click", () => this.turn(-PAGE));
        $("next").addEventListener("click", () => this.turn(PAGE));
        this.showOrder();
        this.offerOrigins(["jail", "admin", "import", "fleet"]);
    }

    /** @param {string[]} jails */
    offerJails(jails) {
        offer($("jail"), jails);
    }

    /** @param {string[]} origins */
    offerOrigins(origins) {
        offer($("origin"), origins);
    }

    first() {
        this.offset = 0;
        this.load();
    }

    /** @param {number} by */
    turn(by) {
        this.offset = Math.max(0, this.offset + by);
        this.load();
        $("bans-title").scrollIntoView({ block: "nearest" });
    }

    /** @param {string} order */
    sort(order) {
        this.descending = order === this.order ? !this.descending : order === "since" || order === "failures";
        this.order = order;
        this.showOrder();
        this.first();
    }

    showOrder() {
        for (const sort of document.querySelectorAll("button.sort")) {
            const active = /** @type {HTMLElement} */ (sort).dataset.order === this.order;
            const header = /** @type {Element} */ (sort.parentElement);
            if (active)
                header.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
            else
                header.removeAttribute("aria-sort");
        }
    }

    async ask() {
        const asked = ++this.asked;
        const match = /** @type {HTMLInputElement} */ ($("search")).value.trim();
        const what = variants({
            Jail: /** @type {HTMLSelectElement} */ ($("jail")).value,
            Origin: /** @type {HTMLSelectElement} */ ($("origin")).value,
            Match: match,
            Order: this.order,
            Descending: this.descending,
        });
        const error = $("search-error");
        try {
            const [bans, total, generation] = await this.wardend.call("ListBans", what, this.offset, PAGE);
            if (asked !== this.asked)
                return;
            // The last page may have emptied.
            if (bans.length === 0 && this.offset > 0) {
                this.offset = Math.max(0, Math.ceil(total / PAGE) - 1) * PAGE;
                this.load();
                return;
            }
            this.generation = generation;
            error.hidden = true;
            $("search").removeAttribute("aria-invalid");
            this.show(bans.map(toBan), total, match);
        } catch (thrown) {
            const refusal = /** @type {any} */ (thrown);
            if (asked !== this.asked || !this.wardend.present || refusal.problem)
                return;
            error.textContent = sentence(refusal).message;
            error.hidden = false;
            if (match)
                $("search").setAttribute("aria-invalid", "true");
        }
    }

    /**
     * @param {Ban[]} bans
     * @param {number} total
     * @param {string} match
     */
    show(bans, total, match) {
        const body = /** @type {Element} */ (document.querySelector("#bans tbody"));
        const rows = [];
        const kept = new Map();
        for (const ban of bans) {
            const key = `${ban.jail}\n${ban.source}`;
            const signature = JSON.stringify(ban);
            const old = this.rows.get(key);
            const entry = old?.signature === signature ? old : { signature, row: this.row(ban, key) };
            kept.set(key, entry);
            rows.push(entry.row);
            const opened = this.opened.get(key);
            if (opened)
                rows.push(opened);
        }
        this.rows = kept;
        for (const key of this.opened.keys()) {
            if (!kept.has(key))
                this.opened.delete(key);
        }
        arrange(body, rows);
        // For whoever measures how soon there is something to read.
        if (!this.drawn)
            performance.mark("rows");
        this.drawn = true;
        this.offerOrigins(bans.map(ban => ban.more.Origin));
        $("bans").hidden = total === 0;
        const last = Math.min(this.offset + bans.length, total);
        $("range").textContent = total === 0 ? "" : `${number(this.offset + 1)}–${number(last)} of ${number(total)}`;
        /** @type {HTMLButtonElement} */ ($("previous")).disabled = this.offset === 0;
        /** @type {HTMLButtonElement} */ ($("next")).disabled = last >= total;
        $("none").hidden = total > 0;
        if (total === 0)
            $("none").replaceChildren(...this.nothing(match));
    }

    /** @param {string} match */
    nothing(match) {
        if (!match)
            return [h("p", null, "Nobody is banned.")];
        // Somebody looks for an address that is not banned: what is known about it is the answer.
        const isAddress = /^[0-9a-f.:]+(\/\d+)?$/i.test(match);
        return [h("p", null, `No ban matches “${match}”.`),
            isAddress && button(`Explain ${match}`, () => explainInDialog(this.wardend, match))].filter(part => part !== false);
    }

    /**
     * @param {Ban} ban
     * @param {string} key
     */
    row(ban, key) {
        const toggle = button(ban.source, () => this.toggle(ban, key, toggle), {
            class: "source", "aria-expanded": String(this.opened.has(key)),
        });
        const named = `${ban.source} in ${ban.jail}`;
        return row(COLUMNS, [
            toggle,
            ban.jail,
            ago(ban.since),
            left(ban.until, ban.more.Permanent),
            ban.count > 1 ? `#${ban.count}` : "first",
            ban.more.ByHand ? "—" : number(ban.failures),
            why(ban),
            h("span", { class: "actions" },
                change("Unban", () => this.unban(ban), { "aria-label": `Unban ${named}` }),
                button("Copy", () => copy(ban.source), { "aria-label": `Copy ${ban.source}` })),
        ]);
    }

    /**
     * @param {Ban} ban
     * @param {string} key
     * @param {HTMLButtonElement} toggle
     */
    toggle(ban, key, toggle) {
        const open = this.opened.get(key);
        toggle.setAttribute("aria-expanded", String(!open));
        if (open) {
            open.remove();
            this.opened.delete(key);
            return;
        }
        const place = h("div", null, h("p", null, "Loading…"));
        const opened = h("tr", { role: "row", class: "opened" },
            h("td", { role: "cell", colspan: COLUMNS.length, "aria-label": `About ${ban.source}` }, place));
        this.opened.set(key, opened);
        toggle.closest("tr")?.after(opened);
        explain(this.wardend, ban.source, place);
    }

    /** @param {Ban} ban */
    async unban(ban) {
        try {
            await this.wardend.call("Unban", ban.source, ban.jail);
            say(`Unbanned ${ban.source} in ${ban.jail}.`);
        } catch (error) {
            say(sentence(error).message, true);
        }
        this.load();
    }
}

/**
 * Offers values in a selection, in addition to those that are there.
 * @param {HTMLElement} select
 * @param {string[]} values
 */
function offer(select, values) {
    const { options } = /** @type {HTMLSelectElement} */ (select);
    const known = new Set([...options].map(option => option.value));
    for (const value of new Set(values)) {
        if (value && !known.has(value))
            options.add(new Option(value));
    }
}

/**
 * @param {any[]} fields
 * @returns {Ban}
 */
function toBan([jail, source, since, until, count, failures, rule, reason, more]) {
    return { jail, source, since, until, count, failures, rule, reason, more: plain(more) };
}

/** @param {Ban} ban */
function why(ban) {
    const origin = ban.more.Origin === "admin" ? "manually" : `by ${ban.more.Origin}`;
    const text = ban.more.ByHand ? [origin, ban.reason].filter(part => part).join(": ") : ban.rule;
    return h("span", null, text,
        ban.more.LoginUSec && h("span", { class: "label" }, "despite a login"),
        !ban.more.InForce && h("span", { class: "label danger" }, "not in force"));
}

/** @param {string} text */
async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        say(`Copied ${text}.`);
    } catch {
        say(`The browser does not allow copying ${text}.`, true);
    }
}
