// SPDX-License-Identifier: MIT OR Apache-2.0
import js from "@eslint/js";

const browser = ["cockpit", "document", "window", "parent", "navigator", "performance", "localStorage", "matchMedia", "addEventListener",
    "setTimeout", "setInterval", "clearTimeout", "Node", "Event", "CustomEvent", "EventTarget", "Option", "TextDecoder"];

/** What would let text of others become markup or code. */
const markup = ["innerHTML", "outerHTML", "insertAdjacentHTML"].map(property => ({
    selector: `MemberExpression[property.name='${property}']`, message: "Text of others must stay text: use h().",
}));

export default [
    js.configs.recommended,
    {
        files: ["wardend/*.js"],
        languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: Object.fromEntries(browser.map(name => [name, "readonly"])) },
        linterOptions: { reportUnusedDisableDirectives: "error" },
        rules: {
            "no-restricted-syntax": ["error", ...markup],
            "no-eval": "error",
            "no-implied-eval": "error",
            "no-console": "error",
            "no-var": "error",
            "prefer-const": "error",
            "eqeqeq": "error",
            "no-shadow": "error",
            "no-unused-vars": ["error", { caughtErrors: "all" }],
        },
    },
];
