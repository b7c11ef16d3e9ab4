// SPDX-License-Identifier: MIT OR Apache-2.0
// Elements, and times as people read them. What comes from elsewhere becomes a text node, never markup:
// attackers choose user names, and administrators reasons.

/** @typedef {string | number | Node | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * The element of index.html with this id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function $(id) {
    return /** @type {T} */ (document.getElementById(id));
}

/**
 * @param {Element} element
 * @param {Record<string, any> | null} attributes
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
        if (typeof value === "function")
            element.addEventListener(name, value);
        else if (value === true)
            element.setAttribute(name, "");
        else if (value !== false && value !== null && value !== undefined)
            element.setAttribute(name, String(value));
    }
    for (const child of children) {
        if (child instanceof Node)
            element.appendChild(child);
        else if (child !== null && child !== undefined && child !== false)
            element.appendChild(document.createTextNode(String(child)));
    }
}

/**
 * Creates an element. Attributes that are functions listen to the event of their name.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any> | null} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = null, ...children) {
    const element = document.createElement(tag);
    fill(element, attributes, children);
    return element;
}

/**
 * Creates an element of an SVG image.
 * @param {string} tag
 * @param {Record<string, any> | null} attributes
 * @param {...Child} children
 */
export function svg(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    fill(element, attributes, children);
    return element;
}

/**
 * Makes `elements` the children of `parent`, and moves none that is in its place: the focus and what is
 * selected stay.
 * @param {Element} parent
 * @param {Element[]} elements
 */
export function arrange(parent, elements) {
    const wanted = new Set(elements);
    for (const child of [...parent.children]) {
        if (!wanted.has(child))
            child.remove();
    }
    let at = parent.firstElementChild;
    for (const element of elements) {
        if (element === at)
            at = at.nextElementSibling;
        else
            parent.insertBefore(element, at);
    }
}

/**
 * A table whose semantics hold where CSS shows its rows as blocks.
 * @param {string[]} columns
 * @param {HTMLTableRowElement[]} rows
 * @param {Record<string, string>} attributes
 */
export function table(columns, rows, attributes) {
    const titles = columns.map(title => h("th", { role: "columnheader", scope: "col" }, title));
    return h("table", { role: "table", ...attributes },
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...titles)),
        h("tbody", { role: "rowgroup" }, ...rows));
}

/**
 * A row of a table; each cell knows the title of its column, for narrow screens.
 * @param {string[]} columns
 * @param {Child[]} cells
 */
export function row(columns, cells) {
    return h("tr", { role: "row" },
        ...cells.map((cell, index) => h("td", { role: "cell", "data-label": columns[index] }, cell)));
}

/**
 * A button. One that changes something is off, with the reason, while there is limited access.
 * @param {string} text
 * @param {() => void} action
 * @param {Record<string, any>} [attributes]
 */
export function button(text, action, attributes = {}) {
    return h("button", { type: "button", click: action, ...attributes }, text);
}

/** How far the clock of the server is ahead of the browser's, in ms. */
let ahead = 0;

/** @param {number} milliseconds the time of the server now */
export function setServerTime(milliseconds) {
    ahead = milliseconds - Date.now();
}

/** The time of the server in µs. */
export function now() {
    return (Date.now() + ahead) * 1000;
}

/**
 * Numbers above 2⁵³ do not survive the bridge: 2⁶⁴−1 arrives as −1 or as 1.8e19.
 * @param {number} usec
 */
export function isForever(usec) {
    return usec < 0 || usec >= 2 ** 63;
}

/** @type {[number, string, string][]} */
const UNITS = [[86400, "day", "days"], [3600, "h", "h"], [60, "min", "min"], [1, "s", "s"]];

/**
 * A time span with at most two units: "2 h 5 min".
 * @param {number} usec
 */
export function span(usec) {
    let seconds = Math.max(0, Math.round(usec / 1e6));
    const words = [];
    for (const [size, one, many] of UNITS) {
        const count = Math.floor(seconds / size);
        if (count > 0) {
            words.push(`${count} ${count === 1 ? one : many}`);
            seconds -= count * size;
        }
        // Seconds beside hours say nothing.
        if (words.length === 2 || (words.length === 1 && size > 60 && seconds < 60))
            break;
    }
    return words.join(" ") || "0 s";
}

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const NUMBER = new Intl.NumberFormat();

/** @param {number} usec */
export function absolute(usec) {
    return DATE.format(new Date(usec / 1000));
}

/** @param {number} count */
export function number(count) {
    return NUMBER.format(count);
}

/**
 * How long ago something was, with the time itself on hover.
 * @param {number} usec
 */
export function ago(usec) {
    return ticking(usec, at => {
        const passed = now() - at;
        return passed < 1e6 ? "now" : `${span(passed)} ago`;
    });
}

/**
 * How long something still lasts.
 * @param {number} usec
 * @param {boolean} permanent
 */
export function left(usec, permanent) {
    if (permanent || isForever(usec))
        return h("span", null, "permanent");
    return ticking(usec, at => at > now() ? span(at - now()) : "ends now");
}

/**
 * @param {number} usec
 * @param {(usec: number) => string} text
 */
function ticking(usec, text) {
    const element = h("time", { datetime: new Date(usec / 1000).toISOString(), title: absolute(usec) }, text(usec));
    ticks.set(element, () => text(usec));
    return element;
}

/** @type {Map<HTMLElement, () => string>} */
const ticks = new Map();

setInterval(() => {
    for (const [element, text] of ticks) {
        if (!element.isConnected)
            ticks.delete(element);
        else if (!document.hidden && element.textContent !== text())
            element.textContent = text();
    }
}, 1000);

/**
 * Runs `action` once, `delay` ms after the first of many calls: what happens often is drawn seldom, but is
 * drawn even if it never stops happening.
 * @param {number} delay
 * @param {() => void} action
 */
export function soon(delay, action) {
    let waiting = false;
    return () => {
        if (waiting)
            return;
        waiting = true;
        setTimeout(() => {
            waiting = false;
            action();
        }, delay);
    };
}

/**
 * Has one run of `action` at a time, and one more after it if it was asked for meanwhile: a daemon that is
 * busy is not asked more and more.
 * @param {() => Promise<any>} action it handles its errors
 */
export function single(action) {
    let running = false;
    let again = false;
    return async () => {
        if (running) {
            again = true;
            return;
        }
        running = true;
        do {
            again = false;
            await action();
        } while (again);
        running = false;
    };
}

/**
 * Says what the user's own action has done.
 * @param {string} text
 * @param {boolean} [failed]
 */
export function say(text, failed = false) {
    const status = $("status");
    status.textContent = text;
    status.className = failed ? "notice danger" : "notice";
}
