// SPDX-License-Identifier: MIT OR Apache-2.0
// What needs administrative access. Its buttons stay where they are and say why they are off.

import { $, button, say } from "./dom.js";

const WHY = "Needs administrative access: use “Limited access” at the top of the page to turn it on.";

let limited = true;

/** @param {Element} element */
function mark(element) {
    element.setAttribute("aria-disabled", String(limited));
    if (limited)
        element.setAttribute("title", WHY);
    else
        element.removeAttribute("title");
}

/**
 * A button that changes something.
 * @param {string} text
 * @param {() => void} action
 * @param {Record<string, any>} [attributes]
 */
export function change(text, action, attributes = {}) {
    const element = button(text, action, { "data-change": true, ...attributes });
    mark(element);
    return element;
}

/** @param {boolean} admin */
export function setAccess(admin) {
    limited = !admin;
    $("limited").hidden = admin;
    document.querySelectorAll("[data-change]").forEach(mark);
}

document.addEventListener("click", event => {
    const target = /** @type {Element} */ (event.target).closest("[data-change]");
    if (target && limited) {
        event.stopImmediatePropagation();
        event.preventDefault();
        say(WHY);
    }
}, true);
