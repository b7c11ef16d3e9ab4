// SPDX-License-Identifier: MIT OR Apache-2.0
// Light or dark as the shell of Cockpit is, and corners as its PatternFly has them.

const KEY = "shell:style";

/** @param {string | null} [style] */
function apply(style = localStorage.getItem(KEY)) {
    const dark = style === "dark" || (style !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.classList.toggle("dark", dark);
}

export function followTheme() {
    apply();
    addEventListener("storage", event => {
        if (event.key === KEY)
            apply();
    });
    // A choice in the shell is announced in its frames.
    addEventListener("cockpit-style", event => {
        const style = event instanceof CustomEvent && event.detail?.style;
        apply(typeof style === "string" ? style : undefined);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply());
    document.documentElement.classList.toggle("round", Boolean(parent.document.querySelector("[class*='pf-v6-']")));
}
