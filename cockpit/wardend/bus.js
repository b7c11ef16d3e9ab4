// SPDX-License-Identifier: MIT OR Apache-2.0
// wardend on the system bus.
//
// Signatures are given with each call, so that no call waits for introspection. Calls go to the connection that
// has the name, and not to the name: the bus starts a service whose name is called, and no page must undo
// `systemctl stop`, however closely a call follows it.

const NAME = "org.wardend1";
const PATH = "/org/wardend1";
const MANAGER = "org.wardend1.Manager";
const JAIL = "org.wardend1.Jail";
const PROPERTIES = "org.freedesktop.DBus.Properties";
const BUS = "org.freedesktop.DBus";
const BUS_PATH = "/org/freedesktop/DBus";

/** How long root's bridge may take, in ms. */
const PATIENCE = 700;

/** @type {Record<keyof Replies, string>} */
const SIGNATURES = {
    ListBans: "a{sv}uu", ListJails: "", Ban: "ssa{sv}", BanMany: "aa{sv}a{sv}", Unban: "ss", Ignore: "asa{sv}",
    Unignore: "asa{sv}", ListIgnored: "", PauseJail: "sa{sv}",
    ResumeJail: "s", History: "ttt", TopSources: "a{sv}u", Explain: "s",
};

/**
 * Takes the values out of their variants.
 * @param {Record<string, {t: string, v: any}>} dictionary
 * @returns {Record<string, any>}
 */
export function plain(dictionary) {
    return Object.fromEntries(Object.entries(dictionary).map(([key, value]) => [key, value.v]));
}

/**
 * Puts texts, flags and numbers into variants, and leaves out what is empty.
 * @param {Record<string, string | boolean | undefined>} options
 */
export function variants(options) {
    return Object.fromEntries(Object.entries(options)
        .filter(([, value]) => value !== undefined && value !== "" && value !== false)
        .map(([key, value]) => [key, { t: typeof value === "boolean" ? "b" : "s", v: value }]));
}

/**
 * The sentence of an error, and its name without the prefix.
 * @param {any} error
 */
export function sentence(error) {
    const name = String(error?.name || "").replace(`${NAME}.Error.`, "");
    return { name, message: String(error?.message || error?.problem || error || "Unknown error.") };
}

/**
 * Tells: "connect" (calls can be made), "presence" (whether it is running), "properties", "bans" (the list has changed), "activity" (a failure,
 * a leak or a spared source) and "jails".
 */
export class Wardend extends EventTarget {
    constructor() {
        super();
        /** @type {boolean | null} whether it is running; null if that is not known yet */
        this.present = null;
        /** Whether the user has administrative access. */
        this.admin = false;
        /** The connection that has the name. */
        this.owner = "";
        /** @type {Record<string, any>} */
        this.properties = {};
        /** @type {DBusClient | null} */
        this.client = null;
        /** Whether calls go over root's bridge, if there is one. */
        this.asks = true;
        this.bus = cockpit.dbus(BUS, { bus: "system" });
        this.permission = cockpit.permission({ admin: true });
        this.admin = this.permission.allowed === true;
    }

    start() {
        this.permission.addEventListener("changed", () => {
            this.admin = this.permission.allowed === true;
            this.tell("admin");
            // Later changes have Cockpit load the page again.
            if (this.client && this.admin && !this.asks)
                this.connect();
        });
        const match = { path: BUS_PATH, interface: BUS, member: "NameOwnerChanged", arg0: NAME };
        this.bus.subscribe(match, (_path, _interface, _member, [, , owner]) => this.follow(owner));
        this.look();
    }

    /** Finds out whether it is running. */
    look() {
        const { owner, client } = this;
        // It may have started or stopped since.
        const same = () => this.owner === owner && this.client === client;
        this.bus.call(BUS_PATH, BUS, "GetNameOwner", [NAME], { type: "s" }).then(
            ([found]) => same() && this.follow(found),
            error => {
                if (same() && error.name === `${BUS}.Error.NameHasNoOwner`)
                    this.lose();
                else if (same())
                    this.fail(error);
            });
    }

    /** @param {string} owner the connection that has the name now; empty if none has */
    follow(owner) {
        this.owner = owner;
        if (owner)
            this.connect();
        else
            this.lose();
    }

    /**
     * Over root's bridge, if there is one. While the user is asked for a password, that waits for the answer; then
     * the user's own is used until there is one.
     * @param {boolean} [asks] whether root's bridge is wanted
     */
    connect(asks = true) {
        this.client?.close();
        const client = cockpit.dbus(this.owner, asks ? { bus: "system", superuser: "try" } : { bus: "system" });
        this.client = client;
        this.asks = asks;
        let answered = false;
        client.addEventListener("close", () => {
            if (this.client === client)
                setTimeout(() => this.client === client && this.look(), 1000);
        });
        client.subscribe({ path: PATH, interface: MANAGER }, (_path, _interface, member) => {
            this.tell(["Banned", "Extended", "Unbanned"].includes(member) ? "bans" : "activity");
        });
        client.subscribe({ interface: PROPERTIES, member: "PropertiesChanged" }, (path, _interface, _member, [, changed]) => {
            if (path !== PATH) {
                this.tell("jails");
                return;
            }
            Object.assign(this.properties, plain(changed));
            this.tell("properties");
        });
        // The bans are asked for at the same time.
        this.tell("connect");
        client.call(PATH, PROPERTIES, "GetAll", [MANAGER], { type: "s" }).then(([properties]) => {
            answered = true;
            if (this.client !== client)
                return;
            this.properties = plain(properties);
            this.present = true;
            this.tell("presence");
        }, error => {
            answered = true;
            // Where it is the channel that has failed, it closes, which is dealt with above.
            if (this.client === client && !error.problem)
                this.fail(error);
        });
        if (asks) {
            setTimeout(() => {
                if (this.client === client && !answered && this.permission.allowed === null)
                    this.connect(false);
            }, PATIENCE);
        }
    }

    lose() {
        this.client?.close();
        this.client = null;
        this.owner = "";
        this.present = false;
        this.tell("presence");
    }

    /** @param {any} error */
    fail(error) {
        this.problem = sentence(error).message;
        this.lose();
    }

    /** @param {string} what */
    tell(what) {
        this.dispatchEvent(new Event(what));
    }

    /**
     * @template {keyof Replies} M
     * @param {M} member
     * @param {...any} parameters
     * @returns {Promise<Replies[M]>}
     */
    call(member, ...parameters) {
        if (!this.client)
            return Promise.reject(new Error("wardend is not running."));
        return /** @type {Promise<any>} */ (this.client.call(PATH, MANAGER, member, parameters, { type: SIGNATURES[member] }));
    }

    /**
     * @param {string} path
     * @returns {Promise<Record<string, any>>}
     */
    async jail(path) {
        if (!this.client)
            throw new Error("wardend is not running.");
        const [properties] = await this.client.call(path, PROPERTIES, "GetAll", [JAIL], { type: "s" });
        return plain(properties);
    }
}

/**
 * The names of jails, first of those that watch something: people ban where they are attacked.
 * @param {Replies["ListJails"][0]} jails
 */
export function names(jails) {
    const watching = jails.filter(([, , , , , more]) => plain(more).Filter);
    return [...watching, ...jails.filter(jail => !watching.includes(jail))].map(([name]) => name);
}

/** Starts the daemon, as `systemctl start` does. */
export function startDaemon() {
    const systemd = cockpit.dbus("org.freedesktop.systemd1", { bus: "system", superuser: "try" });
    return systemd.call("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartUnit",
        ["wardend.service", "replace"], { type: "ss" });
}

/**
 * The address from which the user looks at this page; empty if that is this machine.
 * @returns {Promise<string>}
 */
export async function viewersAddress() {
    // Not with administrative access: it is the user's own session that has the address.
    const logind = cockpit.dbus("org.freedesktop.login1", { bus: "system" });
    try {
        const [host] = await logind.call("/org/freedesktop/login1/session/self", PROPERTIES, "Get",
            ["org.freedesktop.login1.Session", "RemoteHost"], { type: "ss" });
        const address = String(host.v).replace(/^::ffff:(?=\d+\.)/, "");
        return /^(127\.|::1$|localhost)/.test(address) ? "" : address;
    } catch {
        // Without a session in logind, nobody knows.
        return "";
    } finally {
        logind.close();
    }
}

/**
 * The message of the journal record with this cursor; null if it is not there or may not be read.
 * @param {string} cursor
 * @returns {Promise<string | null>}
 */
export async function record(cursor) {
    const command = ["journalctl", `--cursor=${cursor}`, "--lines=1", "--output=json", "--all", "--quiet", "--no-pager"];
    const output = await cockpit.spawn(command, { superuser: "try", err: "ignore" });
    if (!output.trim())
        return null;
    const fields = JSON.parse(output);
    // journalctl goes to the nearest record where this one is gone. Some cursors are only the time and the boot.
    const found = fields.__CURSOR.split(";");
    if (!cursor.split(";").every(part => found.includes(part)))
        return null;
    const message = fields.MESSAGE;
    // What is not valid text comes as bytes.
    return Array.isArray(message) ? new TextDecoder().decode(new Uint8Array(message)) : String(message);
}

/**
 * The settings of a jail, and the place that each is from.
 * @param {string} jail
 * @returns {Promise<[string, string, string][]>}
 */
export async function settings(jail) {
    const output = await cockpit.spawn(["wardenctl", "cat-config", "--jail", jail], { err: "message", superuser: "try" });
    return output.split("\n").flatMap(line => {
        const [, name, value, place] = /^([\w-]+) = (.*?)\s+# (.*)$/.exec(line) || [];
        return name ? [/** @type {[string, string, string]} */ ([name, value, place])] : [];
    });
}

/** The time of the server in ms. */
export async function serverTime() {
    return Number(await cockpit.spawn(["date", "+%s%3N"], { err: "ignore" }));
}
