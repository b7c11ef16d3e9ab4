// SPDX-License-Identifier: MIT OR Apache-2.0
// What the page uses of ../base1/cockpit.js, which Cockpit serves.

interface DBusClient {
    call(path: string, iface: string, member: string, parameters: any[], options?: { type?: string }): Promise<any[]>;
    subscribe(match: Record<string, string>,
        callback: (path: string, iface: string, member: string, parameters: any[]) => void): { remove(): void };
    addEventListener(type: "close", listener: () => void): void;
    close(): void;
}

interface Permission extends EventTarget {
    allowed: boolean | null;
}

declare const cockpit: {
    dbus(name: string, options: { bus: "system", superuser?: "try" }): DBusClient;
    permission(options: { admin: true }): Permission;
    spawn(command: string[], options: { superuser?: "try", err?: "ignore" | "message" }): Promise<string>;
};

// What the methods of org.wardend1 return, see org.wardend1(5).

type Variants = Record<string, { t: string, v: any }>;

/** Jail, source, since, until, which ban of the source, failures, rule, reason. */
type BanRow = [string, string, number, number, number, number, string, string, Variants];

interface Replies {
    ListBans: [BanRow[], number, number];
    /** Name, bans, failing sources, sessions, object. */
    ListJails: [[string, number, number, number, string, Variants][]];
    Ban: [string, number, Variants];
    BanMany: [Variants[]];
    Unban: [BanRow[]];
    Ignore: [Variants[]];
    Unignore: [Variants[]];
    ListIgnored: [Variants[]];
    PauseJail: [Variants[]];
    ResumeJail: [Variants[]];
    /** Beginning, failures, bans that jails decided, spared. */
    History: [[number, number, number, number, Variants][]];
    /** Source, failures, bans, last. */
    TopSources: [[string, number, number, number, Variants][]];
    Explain: [Variants[]];
}
