/* The floor: what libsystemd alone needs for the records that wardend reads.
 *
 * usage: floor DIRECTORY message|fields MATCH...
 *
 * Walks the journal files of a directory with the matches that are given, as wardend's reader
 * sets them, and looks at each record's MESSAGE only, or at all fields that the sshd filter asks
 * for in one pass, with the record's times. Nothing is copied, matched or counted but the records.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-journal.h>

static const char *const FIELDS[] = {
    "MESSAGE=", "_SYSTEMD_UNIT=", "SYSLOG_RAW=", "_TRANSPORT=", "_UID=",
    "SYSLOG_IDENTIFIER=", "_PID=", "SYSLOG_PID=", "_BOOT_ID=", "_COMM=", "_EXE=",
};

static void check(int r, const char *what) {
    if (r >= 0)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(-r));
    exit(1);
}

int main(int argc, char *argv[]) {
    sd_journal *j;
    uint64_t records = 0, bytes = 0, time, monotonic;
    const void *data;
    size_t size;
    sd_id128_t boot;
    int r, all;

    if (argc < 3)
        return 2;
    all = strcmp(argv[2], "fields") == 0;
    check(sd_journal_open_directory(&j, argv[1], 0), argv[1]);
    for (int i = 3; i < argc; i++)
        check(sd_journal_add_match(j, argv[i], 0), argv[i]);
    if (argc > 3) {
        check(sd_journal_add_disjunction(j), "or");
        check(sd_journal_add_match(j, "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e", 0), "match");
        check(sd_journal_add_match(j, "_TRANSPORT=driver", 0), "match");
    }
    while ((r = sd_journal_next(j)) > 0) {
        records++;
        if (!all) {
            if (sd_journal_get_data(j, "MESSAGE", &data, &size) >= 0)
                bytes += size;
            continue;
        }
        check(sd_journal_get_realtime_usec(j, &time), "time");
        check(sd_journal_get_monotonic_usec(j, &monotonic, &boot), "time");
        SD_JOURNAL_FOREACH_DATA(j, data, size)
            for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
                if (size >= strlen(FIELDS[i]) && memcmp(data, FIELDS[i], strlen(FIELDS[i])) == 0) {
                    bytes += size;
                    break;
                }
    }
    check(r, "next");
    printf("%llu %llu\n", (unsigned long long)records, (unsigned long long)bytes);
    sd_journal_close(j);
    return 0;
}
