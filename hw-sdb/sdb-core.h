/*
 * Spin detection buffer (SDB): what it observes, what it answers
 *
 * A PCPU has one SDB.  It is notified of committed stores and loads, and at
 * the end of every period of N committed instructions it says whether the VCPU
 * made progress or was spinning.  Two detectors can judge:
 *
 *   paper       Wells, Chakraborty, Sohi, "Hardware Support for Spin
 *               Management in Overcommitted Virtual Machines", PACT 2006,
 *               section 3
 *   recurrence  beyond the paper: privileged periods that touch nothing but
 *               the addresses of the period before
 *
 * Whoever executes guest code counts instructions; the SDB never does.
 * Plain C over GLib: no other QEMU header, no knowledge of TCG, of policies or
 * of a target.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SDB_CORE_H
#define HW_SDB_CORE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

/* The detectors; a configuration chooses one or both of them. */
typedef enum SDBDetector {
    SDB_PAPER,
    SDB_RECURRENCE,
    SDB_DETECTORS           /* how many there are */
} SDBDetector;

#define SDB_JUDGES(detector) (1u << (detector))

typedef enum SDBChoice {
    SDB_CHOICE_PAPER = SDB_JUDGES(SDB_PAPER),
    SDB_CHOICE_RECURRENCE = SDB_JUDGES(SDB_RECURRENCE),
    SDB_CHOICE_EITHER = SDB_CHOICE_PAPER | SDB_CHOICE_RECURRENCE,
} SDBChoice;

#define SDB_ENTRIES_MAX         64
#define SDB_MARKS               512     /* of a signature: bits in hardware */

typedef struct SDBConfig {
    uint32_t period;              /* N, committed instructions */
    uint32_t entries;             /* of the store and of the load array */
    uint32_t store_threshold;     /* fewer unique stores than this: spin */
    uint32_t load_threshold;      /* and, in user mode, fewer unique loads */
    SDBChoice detector;
    uint32_t recurrence_entries;  /* marks in a signature to be repeated */
    uint32_t recurrence_repeats;  /* repeating periods in a row: spin */
    uint32_t recurrence_rest;     /* periods unwatched after no repetition */
    uint32_t paper_rest;          /* and after progress, if both judge */
} SDBConfig;

/* Each number of SDBConfig, its limits and its default: the only place. */
typedef struct SDBParameter {
    const char *name;
    const char *description;      /* one line, without range and default */
    const char *source;           /* of the default; NULL: a choice of ours */
    size_t offset;                /* of the uint32_t in SDBConfig */
    uint32_t minimum, maximum, value;   /* @value: the default */
} SDBParameter;

extern const SDBParameter sdb_parameters[];     /* ends with a NULL name */

void sdb_config_default(SDBConfig *config);

/* False, and why (the caller frees it), if a value is out of range or absurd */
bool sdb_config_check(const SDBConfig *config, char **why);

/* "paper", "recurrence", "either"; NULL or false if there is no such thing */
const char *sdb_choice_name(SDBChoice choice);
bool sdb_choice_parse(const char *name, SDBChoice *choice);

/* What a detector says of a period. */
typedef enum SDBReason {
    SDB_SPIN,
    SDB_MODE_CHANGE,        /* user/privileged change inside the period */
    SDB_NOT_JUDGED,         /* detector not chosen, or not for this mode */
    SDB_STORES,             /* paper: unique stores reached the threshold */
    SDB_LOADS,              /* paper: unique loads reached it, user mode */
    SDB_RESTING,            /* this period was not watched */
    SDB_REFERENCE,          /* recurrence: no period before to compare with */
    SDB_NEW_ADDRESS,        /* recurrence: a mark that the one before had not */
    SDB_TOO_MANY,           /* recurrence: more marks than may be repeated */
    SDB_FEW_REPEATS,        /* recurrence: repeats, not yet often enough */
    SDB_REASONS
} SDBReason;

const char *sdb_reason_name(SDBReason reason);

typedef struct SDBVerdict {
    bool spin;                          /* some detector says so */
    bool user;                          /* mode of the period */
    uint8_t detectors;                  /* SDB_JUDGES() of those that do */
    uint8_t reason[SDB_DETECTORS];      /* SDBReason of each detector */
    uint16_t stores;                    /* unique ones held (paper) */
    uint16_t loads;
    uint64_t number;                    /* from 1; cut off periods count */
} SDBVerdict;

/*
 * Index 0 privileged, 1 user.  A period that is cut off is not judged; it
 * counts even if it is cut off before its first instruction.
 */
typedef struct SDBCounters {
    uint64_t periods[2];                /* judged */
    uint64_t cut[2];                    /* cut off by a flush */
    uint64_t spins[2];                  /* some detector found a spin */
    uint64_t reasons[SDB_DETECTORS][2][SDB_REASONS];
} SDBCounters;

typedef struct SDB SDB;

SDB *sdb_new(const SDBConfig *config);  /* NULL if sdb_config_check() fails */
void sdb_free(SDB *sdb);

const SDBConfig *sdb_config(const SDB *sdb);
const SDBCounters *sdb_counters(const SDB *sdb);
void sdb_reset_counters(SDB *sdb);

/* Takes effect at once: flushes as sdb_flush() does, in the current mode. */
bool sdb_reconfigure(SDB *sdb, const SDBConfig *config, char **why);

/*
 * The watch mask: what is worth reporting in the rest of this period.  If it is
 * 0, the period is quiescent: what the SDB will decide is settled, and the
 * period can run on unobserved.
 */
#define SDB_WATCH_STORES 1u
#define SDB_WATCH_LOADS  2u
#define SDB_WATCH_MARKS  4u     /* all of them, but marks are enough */

unsigned sdb_watch_mask(const SDB *sdb);
/* Upper bound of the watch mask at the start of a period in mode @user. */
unsigned sdb_max_watch_mask(const SDB *sdb, bool user);
/*
 * Before the end of a period that begins a watch, the marks may already show
 * that it is progress.  sdb_sample_early() goes through all of them and returns
 * the watch mask from then on.  The verdict at the end stays the same.
 */
bool sdb_worth_sampling(const SDB *sdb);
unsigned sdb_sample_early(SDB *sdb);
/*
 * How many periods after this one are quiescent from their start, if this one
 * is now and the mode stays what it is.  UINT32_MAX: all of them.
 */
uint32_t sdb_quiescent_periods(const SDB *sdb);

/*
 * How many periods, from this one on, are such that no detector will say more
 * of them than that it did not watch, if the mode stays what it is.  sdb_pass()
 * ends so many, @n of them at most, as sdb_end_period() would one by one.
 */
uint32_t sdb_unwatched(const SDB *sdb);
void sdb_pass(SDB *sdb, uint32_t n);

/*
 * Of an access that is not asked for by SDB_WATCH_STORES or SDB_WATCH_LOADS no
 * more is worth knowing than its mark, and sdb_marks()[kind][mark] = 1 is as
 * good as a call.  The array changes when a period begins, and when the watch
 * mask changes; marks that nobody asked for do no harm.
 *
 * The mark is the hash of the address's low 32 bits: the high 9 bits
 * of their product with 2^32 divided by the golden ratio.
 */
#define SDB_MARKS_MULTIPLIER 0x9e3779b9u
#define SDB_MARKS_SHIFT      23

enum { SDB_KIND_STORES, SDB_KIND_LOADS, SDB_KINDS };

static inline unsigned sdb_mark(uint64_t address)
{
    return (uint32_t)address * SDB_MARKS_MULTIPLIER >> SDB_MARKS_SHIFT;
}

uint8_t (*sdb_marks(SDB *sdb))[SDB_MARKS];

/*
 * VCPU switch, or the start of everything: nothing is decided for the period
 * that is cut off, arrays are empty, a new period begins in mode @user.
 * Returns the number of the period that was cut off.
 */
uint64_t sdb_flush(SDB *sdb, bool user);

/*
 * A store or load that committed.  @value_low and @value_high: the bytes
 * stored as a number of @size bytes (1 to 16), anything above them is
 * ignored.  A read-modify-write is a load and, if it did store, a store.
 * Calls that the watch mask does not ask for are allowed and change nothing.
 * Both return the watch mask afterwards.
 */
unsigned sdb_store(SDB *sdb, uint64_t address, unsigned size,
                   uint64_t value_low, uint64_t value_high);
unsigned sdb_load(SDB *sdb, uint64_t address, unsigned size);

/*
 * The VCPU is now in mode @user; a change inside the period is progress.
 * Inside means that an instruction of the period has committed.  Before that
 * it is sdb_mode_at_begin(): the period has the mode of its first instruction.
 */
unsigned sdb_mode(SDB *sdb, bool user);
unsigned sdb_mode_at_begin(SDB *sdb, bool user);

/*
 * The period's last instruction has committed: decide, flush the arrays,
 * begin the next period in mode @user.
 */
SDBVerdict sdb_end_period(SDB *sdb, bool user);

/* Everything that decisions and counters depend on, to save and to restore. */
typedef struct SDBSnapshot {
    SDBConfig config;
    SDBCounters counters;
    uint64_t number;
    bool user, user_now, changed;

    uint32_t n_stores, n_loads;         /* paper's arrays */
    uint64_t store_address[SDB_ENTRIES_MAX];
    uint64_t store_low[SDB_ENTRIES_MAX];
    uint64_t store_high[SDB_ENTRIES_MAX];
    uint64_t load_address[SDB_ENTRIES_MAX];

    uint32_t paper_rest;
    uint32_t watch;                     /* recurrence: SDBReason so far */
    uint32_t rest, repeats;
    bool comparable;
    uint64_t marks[2][SDB_KINDS][SDB_MARKS / 64];   /* [now, before] */
} SDBSnapshot;

void sdb_save(const SDB *sdb, SDBSnapshot *snapshot);
/* False, and why, if the snapshot cannot have come from sdb_save(). */
bool sdb_restore(SDB *sdb, const SDBSnapshot *snapshot, char **why);

#endif /* HW_SDB_CORE_H */
