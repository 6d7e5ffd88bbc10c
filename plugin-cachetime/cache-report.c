/*
 * What the cache model has counted, for people and programs
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <string.h>

#include "cache-report.h"
#include "json-writer.h"

static const char *const mode_names[] = { "privileged", "user" };

static const char *const server_names[CACHE_SERVERS] = {
    [CACHE_BY_L2] = "l2",
    [CACHE_BY_UPGRADE] = "upgrade",
    [CACHE_BY_TRANSFER] = "transfer",
    [CACHE_BY_L3] = "l3",
    [CACHE_BY_MEMORY] = "memory",
};

static const char *const level_names[CACHE_LEVELS] = {
    [CACHE_L1I] = "l1i",
    [CACHE_L1D] = "l1d",
    [CACHE_L2] = "l2",
    [CACHE_L3] = "l3",
};

static const char *const sharing_names[ATTRIBUTION_SHARINGS] = {
    [ATTRIBUTION_TRUE] = "true",
    [ATTRIBUTION_FALSE] = "false",
    [ATTRIBUTION_UNDECIDED] = "undecided",
    [ATTRIBUTION_UNKNOWN] = "unknown",
    [ATTRIBUTION_UPGRADE] = "upgrade",
};

/* --- Arithmetic --- */

static uint64_t counter(const CacheCounters *c, const CacheCounterName *name)
{
    return *(const uint64_t *)((const char *)c + name->offset);
}

static void subtract(CacheCounters *from, const CacheCounters *less)
{
    uint64_t *f = (uint64_t *)from;
    const uint64_t *n = (const uint64_t *)less;

    for (size_t i = 0; i < sizeof(*from) / sizeof(*f); i++) {
        f[i] -= n[i];
    }
}

/* @n * @factor / @of, rounded; 0 if there is nothing to divide by */
static uint64_t per(uint64_t n, uint64_t factor, uint64_t of)
{
    return of ? ((unsigned __int128)n * factor + of / 2) / of : 0;
}

static uint64_t misses(const CacheCounters *c, CacheLevel level)
{
    return c->misses[level][CACHE_COMPULSORY] +
           c->misses[level][CACHE_CAPACITY] + c->misses[level][CACHE_COHERENCE];
}

static uint64_t stall(const CacheCounters *c)
{
    uint64_t sum = 0;

    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        sum += c->stall[s];
    }
    return sum;
}

/* Lines that memory read or wrote, in bytes */
static uint64_t memory_bytes(const CacheReport *r, const CacheCounters *c)
{
    return (c->served[CACHE_BY_MEMORY] + c->memory_writes) *
           cache_model_config(r->model)->line;
}

/* --- What was counted of whom --- */

/* By mode: [0] privileged, [1] user */
typedef struct Account {
    CacheCounters counters[2];
    CacheRetired retired;
    bool retired_known;
} Account;

static Account account_of(const CacheReport *r, CacheObject object, unsigned n)
{
    const CacheMachine *machine = cache_model_machine(r->model);
    Account account = {};

    for (unsigned user = 0; user < 2; user++) {
        CacheCounters *c = &account.counters[user];

        switch (object) {
        case CACHE_OF_PCPU:
            cache_model_pcpu_counters(r->model, n, user, c);
            account.retired[user] = r->pcpus ? r->pcpus[n][user] : 0;
            break;
        case CACHE_OF_VCPU:
            cache_model_vcpu_counters(r->model, n, user, c);
            account.retired[user] = r->vcpus ? r->vcpus[n][user] : 0;
            break;
        case CACHE_OF_VM:
            cache_model_vm_counters(r->model, n, user, c);
            for (unsigned v = 0; r->vcpus && v < machine->vcpus; v++) {
                if (machine->vm[v] == n) {
                    account.retired[user] += r->vcpus[v][user];
                }
            }
            break;
        case CACHE_OF_MACHINE:
            for (unsigned p = 0; p < machine->pcpus; p++) {
                CacheCounters one;

                cache_model_pcpu_counters(r->model, p, user, &one);
                cache_counters_add(c, &one);
                account.retired[user] += r->pcpus ? r->pcpus[p][user] : 0;
            }
            break;
        }
    }
    account.retired_known = object == CACHE_OF_PCPU ||
                            object == CACHE_OF_MACHINE ? r->pcpus : r->vcpus;
    return account;
}

/* --- JSON: counters --- */

/* @sparse: without counters that are 0 */
static void write_counters(JsonWriter *w, const CacheReport *r,
                           const Account *account, bool user, uint64_t cycles,
                           bool sparse)
{
    const CacheCounters *c = &account->counters[user];
    uint64_t retired = account->retired[user];
    uint64_t bytes = memory_bytes(r, c);

    json_open(w, mode_names[user], '{');
    if (account->retired_known && (retired || !sparse)) {
        json_number(w, "instructions", retired);
    }
    for (const CacheCounterName *name = cache_counter_names; name->name;
         name++) {
        if (counter(c, name) || !sparse) {
            json_number(w, name->name, counter(c, name));
        }
    }
    if (bytes || !sparse) {
        json_number(w, "memory-bytes", bytes);
    }
    if (!sparse && cycles) {
        json_thousandths(w, "memory-bytes-per-cycle", per(bytes, 1000, cycles));
    }
    if (!sparse && retired) {
        json_open(w, "mpki", '{');
        for (CacheLevel level = 0; level < CACHE_LEVELS; level++) {
            json_thousandths(w, level_names[level],
                             per(misses(c, level), 1000 * 1000, retired));
        }
        json_close(w, '}');
    }
    json_close(w, '}');
}

static void write_modes(JsonWriter *w, const CacheReport *r,
                        const Account *account, uint64_t cycles, bool sparse)
{
    for (unsigned user = 0; user < 2; user++) {
        write_counters(w, r, account, user, cycles, sparse);
    }
}

static void write_events(JsonWriter *w, const CacheEvents *e)
{
    json_number(w, "lines-taken", e->taken);
    json_number(w, "lines-downgraded", e->downgraded);
    json_number(w, "lines-supplied", e->supplied);
}

static void write_objects(JsonWriter *w, const CacheReport *r)
{
    const CacheMachine *machine = cache_model_machine(r->model);
    uint64_t cycles = r->end - r->begin;
    Account account = account_of(r, CACHE_OF_MACHINE, 0);

    json_open(w, "machine", '{');
    write_modes(w, r, &account, cycles, false);
    json_close(w, '}');

    json_open(w, "pcpus", '[');
    for (unsigned p = 0; p < machine->pcpus; p++) {
        account = account_of(r, CACHE_OF_PCPU, p);
        json_open(w, NULL, '{');
        json_number(w, "pcpu", p);
        write_events(w, cache_model_events(r->model, p));
        write_modes(w, r, &account, cycles, false);
        json_close(w, '}');
    }
    json_close(w, ']');

    json_open(w, "vcpus", '[');
    for (unsigned v = 0; v < machine->vcpus; v++) {
        account = account_of(r, CACHE_OF_VCPU, v);
        json_open(w, NULL, '{');
        json_number(w, "vcpu", v);
        json_number(w, "vm", machine->vm[v]);
        write_modes(w, r, &account, cycles, false);
        json_close(w, '}');
    }
    json_close(w, ']');

    json_open(w, "vms", '[');
    for (unsigned v = 0; v < machine->vms; v++) {
        account = account_of(r, CACHE_OF_VM, v);
        json_open(w, NULL, '{');
        json_number(w, "vm", v);
        write_modes(w, r, &account, cycles, false);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void write_configuration(JsonWriter *w, const CacheReport *r)
{
    CacheConfig config = *cache_model_config(r->model);
    const char *group = NULL;

    json_open(w, "configuration", '{');
    for (const FileParameter *p = cache_parameters; p->group; p++) {
        uint64_t value = *file_parameter_value(p, &config);

        if (g_strcmp0(group, p->group)) {
            if (group) {
                json_close(w, '}');
            }
            json_open(w, p->group, '{');
            group = p->group;
        }
        switch (p->type) {
        case FILE_PARAMETER_CHOICE:
            json_text(w, p->key, p->choices[value]);
            break;
        case FILE_PARAMETER_DECIMAL:
            json_thousandths(w, p->key, value);
            break;
        default:
            json_number(w, p->key, value);
        }
    }
    json_close(w, '}');
    json_close(w, '}');
}

/* --- JSON: attribution --- */

static void write_servers(JsonWriter *w, const char *name, const uint64_t *n)
{
    json_open(w, name, '{');
    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        json_number(w, server_names[s], n[s]);
    }
    json_close(w, '}');
}

static void write_costs(JsonWriter *w, const AttributionCosts *costs)
{
    write_servers(w, "served", costs->served);
    write_servers(w, "stall", costs->stall);
}

static void write_shares(JsonWriter *w, const AttributionShares *shares)
{
    json_open(w, "misses", '{');
    for (AttributionSharing k = 0; k < ATTRIBUTION_SHARINGS; k++) {
        json_number(w, sharing_names[k], shares->number[k]);
    }
    json_close(w, '}');
    json_open(w, "stall", '{');
    for (AttributionSharing k = 0; k < ATTRIBUTION_SHARINGS; k++) {
        json_number(w, sharing_names[k], shares->stall[k]);
    }
    json_close(w, '}');
}

static void write_place(JsonWriter *w, const AttributionPlace *place)
{
    json_address(w, "address", place->address);
    json_address(w, "virtual", place->virtual);
    json_number(w, "vm", place->vm);
    json_text(w, "mode", mode_names[place->user]);
}

/* A table's entries come next, as "top". */
static void write_table(JsonWriter *w, const struct AttributionTable *t)
{
    json_number(w, "entries", t->entries);
    json_number(w, "dropped", t->dropped);
    json_number(w, "error", t->error);
    json_open(w, "dropped-costs", '{');
    write_costs(w, &t->costs);
    json_close(w, '}');
    json_open(w, "top", '[');
}

static void write_pcs(JsonWriter *w, const CacheReport *r,
                      const AttributionSummary *s)
{
    g_autoptr(GPtrArray) all = attribution_top_pcs(r->attribution, r->top);

    json_open(w, "program-counters", '{');
    write_table(w, &s->pcs);
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionPc *pc = all->pdata[i];

        json_open(w, NULL, '{');
        json_address(w, "pc", pc->pc);
        json_number(w, "vm", pc->vm);
        json_text(w, "mode", mode_names[pc->user]);
        json_bool(w, "fetch", pc->fetch);
        write_costs(w, &pc->costs);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void write_lines(JsonWriter *w, const CacheReport *r,
                        const AttributionSummary *s)
{
    g_autoptr(GPtrArray) all = attribution_top_lines(r->attribution, r->top);

    json_open(w, "lines", '{');
    write_table(w, &s->lines);
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionLine *line = all->pdata[i];

        json_open(w, NULL, '{');
        write_place(w, &line->place);
        write_costs(w, &line->costs);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}

/*
 * Sites with most misses of false sharing come first, then those with most
 * accesses; then in the order of VCPU and program counter.
 */
static int compare_sites(gconstpointer one, gconstpointer other)
{
    const AttributionSite *a = *(AttributionSite *const *)one;
    const AttributionSite *b = *(AttributionSite *const *)other;
    const uint64_t order[][2] = {
        { b->shares.number[ATTRIBUTION_FALSE],
          a->shares.number[ATTRIBUTION_FALSE] },
        { b->accesses, a->accesses },
        { a->others, b->others },
        { a->vcpu, b->vcpu },
        { a->pc, b->pc },
        { a->user, b->user },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        if (order[i][0] != order[i][1]) {
            return order[i][0] < order[i][1] ? -1 : 1;
        }
    }
    return 0;
}

static GPtrArray *sites_of(const AttributionWatched *watched)
{
    GPtrArray *sites = g_ptr_array_new();

    for (const AttributionSite *s = watched->sites; s; s = s->next) {
        g_ptr_array_add(sites, (gpointer)s);
    }
    g_ptr_array_sort(sites, compare_sites);
    return sites;
}

static void write_sites(JsonWriter *w, const AttributionWatched *watched)
{
    g_autoptr(GPtrArray) sites = sites_of(watched);

    json_open(w, "sites", '[');
    for (unsigned i = 0; i < sites->len; i++) {
        const AttributionSite *s = sites->pdata[i];

        json_open(w, NULL, '{');
        if (!s->others) {
            json_number(w, "vcpu", s->vcpu);
            json_address(w, "pc", s->pc);
            json_text(w, "mode", mode_names[s->user]);
        }
        json_bits(w, "pcpus", s->pcpus);
        json_bits(w, "reads", s->reads);
        json_bits(w, "writes", s->writes);
        json_number(w, "accesses", s->accesses);
        write_shares(w, &s->shares);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void write_sharing(JsonWriter *w, const CacheReport *r,
                          const AttributionSummary *s)
{
    g_autoptr(GPtrArray) all = attribution_top_watched(r->attribution, r->top);

    json_open(w, "sharing", '{');
    json_number(w, "word", ATTRIBUTION_WORD);
    json_number(w, "watched", s->watched);
    json_number(w, "sites", s->sites);
    json_number(w, "dropped", s->watched_dropped);
    write_shares(w, &s->shares);
    json_open(w, "top", '[');
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionWatched *watched = all->pdata[i];

        json_open(w, NULL, '{');
        write_place(w, &watched->place);
        write_shares(w, &watched->shares);
        write_sites(w, watched);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void write_attribution(JsonWriter *w, const CacheReport *r)
{
    AttributionSummary s;

    attribution_summary(r->attribution, &s);
    json_open(w, "attribution", '{');
    write_costs(w, &s.all);
    write_pcs(w, r, &s);
    write_lines(w, r, &s);
    write_sharing(w, r, &s);
    json_close(w, '}');
}

GString *cache_report_json(const CacheReport *r)
{
    JsonWriter w;

    json_begin(&w, 4);
    json_open(&w, NULL, '{');
    json_text(&w, "format", CACHE_REPORT_FORMAT);
    json_number(&w, "version", CACHE_REPORT_VERSION);
    json_number(&w, "clock-hz", r->clock_hz);
    json_number(&w, "begin", r->begin);
    json_number(&w, "end", r->end);
    write_configuration(&w, r);
    write_objects(&w, r);
    if (r->attribution) {
        write_attribution(&w, r);
    }
    json_close(&w, '}');
    return json_end(&w);
}

/* --- Intervals --- */

struct CacheIntervals {
    uint64_t number;                    /* of the next interval */
    int64_t begin;
    Account *pcpus, *vcpus;
    CacheEvents *events;
};

static void remember(CacheIntervals *i, const CacheReport *r)
{
    const CacheMachine *machine = cache_model_machine(r->model);

    i->begin = r->end;
    for (unsigned p = 0; p < machine->pcpus; p++) {
        i->pcpus[p] = account_of(r, CACHE_OF_PCPU, p);
        i->events[p] = *cache_model_events(r->model, p);
    }
    for (unsigned v = 0; v < machine->vcpus; v++) {
        i->vcpus[v] = account_of(r, CACHE_OF_VCPU, v);
    }
}

CacheIntervals *cache_intervals_new(const CacheReport *r)
{
    const CacheMachine *machine = cache_model_machine(r->model);
    CacheIntervals *i = g_new0(CacheIntervals, 1);

    i->pcpus = g_new(Account, machine->pcpus);
    i->events = g_new(CacheEvents, machine->pcpus);
    i->vcpus = g_new(Account, machine->vcpus);
    remember(i, r);
    return i;
}

void cache_intervals_free(CacheIntervals *i)
{
    if (i) {
        g_free(i->pcpus);
        g_free(i->events);
        g_free(i->vcpus);
        g_free(i);
    }
}

static Account difference(Account now, const Account *then)
{
    for (unsigned user = 0; user < 2; user++) {
        subtract(&now.counters[user], &then->counters[user]);
        now.retired[user] -= then->retired[user];
    }
    return now;
}

static void write_interval_pcpu(JsonWriter *w, const CacheReport *r,
                                unsigned pcpu, const Account *then,
                                const CacheEvents *before)
{
    Account account = difference(account_of(r, CACHE_OF_PCPU, pcpu), then);
    const CacheEvents *now = cache_model_events(r->model, pcpu);
    CacheEvents events = {
        .taken = now->taken - before->taken,
        .downgraded = now->downgraded - before->downgraded,
        .supplied = now->supplied - before->supplied,
    };

    json_open(w, NULL, '{');
    json_number(w, "pcpu", pcpu);
    write_events(w, &events);
    write_modes(w, r, &account, 0, true);
    json_close(w, '}');
}

GString *cache_intervals_next(CacheIntervals *i, const CacheReport *r)
{
    const CacheMachine *machine = cache_model_machine(r->model);
    JsonWriter w;

    json_begin(&w, 0);
    json_open(&w, NULL, '{');
    json_text(&w, "format", CACHE_INTERVAL_FORMAT);
    json_number(&w, "version", CACHE_REPORT_VERSION);
    json_number(&w, "clock-hz", r->clock_hz);
    json_number(&w, "number", i->number++);
    json_number(&w, "begin", i->begin);
    json_number(&w, "end", r->end);
    json_open(&w, "pcpus", '[');
    for (unsigned p = 0; p < machine->pcpus; p++) {
        write_interval_pcpu(&w, r, p, &i->pcpus[p], &i->events[p]);
    }
    json_close(&w, ']');
    json_open(&w, "vcpus", '[');
    for (unsigned v = 0; v < machine->vcpus; v++) {
        Account account = difference(account_of(r, CACHE_OF_VCPU, v),
                                     &i->vcpus[v]);

        json_open(&w, NULL, '{');
        json_number(&w, "vcpu", v);
        json_number(&w, "vm", machine->vm[v]);
        write_modes(&w, r, &account, 0, true);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
    remember(i, r);
    return json_end(&w);
}

bool cache_intervals_is_open(const CacheIntervals *i, const CacheReport *r)
{
    return r->end > i->begin;
}

void cache_intervals_begin(CacheIntervals *i, const CacheReport *r)
{
    remember(i, r);
}

/* --- The table --- */

/* Three digits after the point, fewer for large numbers: at most 7 in all */
static void put_ratio(GString *out, uint64_t thousandths)
{
    if (thousandths < 1000 * 1000) {
        g_string_append_printf(out, " %3" PRIu64 ".%02" PRIu64,
                               (thousandths + 5) / 10 / 100,
                               (thousandths + 5) / 10 % 100);
    } else {
        g_string_append_printf(out, " %6" PRIu64, thousandths / 1000);
    }
}

static void put_number(GString *out, int width, uint64_t n)
{
    static const char units[] = "kMGTPE";
    unsigned unit = 0;

    if (n < 100000) {
        g_string_append_printf(out, " %*" PRIu64, width, n);
        return;
    }
    for (n /= 100; n >= 10000 && units[unit + 1]; n /= 1000) {
        unit++;
    }
    g_string_append_printf(out, " %*" PRIu64 ".%u%c", width - 3, n / 10,
                           (unsigned)(n % 10), units[unit]);
}

static void put_percent(GString *out, uint64_t part, uint64_t whole)
{
    if (whole) {
        g_string_append_printf(out, " %4" PRIu64, per(part, 100, whole));
    } else {
        g_string_append(out, "    -");
    }
}

static void put_counters(GString *out, const CacheCounters *c,
                         uint64_t retired)
{
    uint64_t cycles = stall(c);

    if (retired) {
        put_number(out, 7, retired);
        for (CacheLevel level = 0; level < CACHE_LEVELS; level++) {
            put_ratio(out, per(misses(c, level), 1000 * 1000, retired));
        }
    } else {
        g_string_append(out, "       -      -      -      -      -");
    }
    put_number(out, 7, cycles);
    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        put_percent(out, c->stall[s], cycles);
    }
    g_string_append_c(out, '\n');
}

static void put_account(GString *out, const char *who, unsigned n,
                        const Account *account)
{
    CacheCounters sum = account->counters[0];

    cache_counters_add(&sum, &account->counters[1]);
    g_string_append_printf(out, "%-4s %3u ", who, n);
    put_counters(out, &sum, account->retired[0] + account->retired[1]);
}

static void put_modes(GString *out, const Account *account)
{
    for (unsigned user = 0; user < 2; user++) {
        g_string_append_printf(out, "%-9s", user ? "user" : "priv.");
        put_counters(out, &account->counters[user], account->retired[user]);
    }
}

static void put_objects(GString *out, const CacheReport *r)
{
    const CacheMachine *machine = cache_model_machine(r->model);
    Account account = account_of(r, CACHE_OF_MACHINE, 0);

    g_string_append(out, "         instruc- --- misses of 1000 instr. ---   "
                    "stall -- of it, %, by ---\n"
                    "         tions       L1I    L1D     L2     L3  "
                    "cycles   L2 upgr othr   L3  mem\n");
    put_modes(out, &account);
    for (unsigned p = 0; p < machine->pcpus; p++) {
        account = account_of(r, CACHE_OF_PCPU, p);
        put_account(out, "PCPU", p, &account);
    }
    for (unsigned v = 0; v < machine->vcpus; v++) {
        account = account_of(r, CACHE_OF_VCPU, v);
        put_account(out, "VCPU", v, &account);
    }
    for (unsigned v = 0; machine->vms > 1 && v < machine->vms; v++) {
        account = account_of(r, CACHE_OF_VM, v);
        put_account(out, "VM", v, &account);
    }
}

static void put_traffic(GString *out, const CacheReport *r)
{
    Account account = account_of(r, CACHE_OF_MACHINE, 0);
    CacheCounters all = account.counters[0];
    uint64_t cycles = r->end - r->begin, bytes, limit;

    cache_counters_add(&all, &account.counters[1]);
    bytes = memory_bytes(r, &all);
    limit = cache_model_config(r->model)->memory_bandwidth;
    g_string_append_printf(out, "memory: %" PRIu64 " bytes", bytes);
    if (cycles) {
        uint64_t rate = per(bytes, 1000, cycles);

        g_string_append_printf(out, ", %" PRIu64 ".%03" PRIu64
                               " a cycle, %" PRIu64 " %% of what it can",
                               rate / 1000, rate % 1000,
                               per(rate, 100, limit));
    }
    g_string_append_printf(out, "\n%" PRIu64 " lines from other L2s, %" PRIu64
                           " taken from other L2s, written back: %" PRIu64
                           " by L1s,\n%" PRIu64 " by L2s, %" PRIu64
                           " by the L3\n",
                           all.served[CACHE_BY_TRANSFER], all.invalidations,
                           all.write_backs[CACHE_L1D],
                           all.write_backs[CACHE_L2],
                           all.write_backs[CACHE_L3]);
}

static void put_costs(GString *out, const AttributionCosts *costs,
                      uint64_t whole)
{
    uint64_t cycles = attribution_stall(costs);

    put_number(out, 9, cycles);
    put_percent(out, cycles, whole);
    for (CacheServer s = 0; s < CACHE_SERVERS; s++) {
        put_percent(out, costs->stall[s], cycles);
    }
    g_string_append_c(out, '\n');
}

/* Of so many what the tables at the end of a run show */
#define TABLE_TOP 10
#define TABLE_SITES 8

static void put_pcs(GString *out, const CacheReport *r, uint64_t whole)
{
    g_autoptr(GPtrArray) all =
        attribution_top_pcs(r->attribution, MIN(r->top, TABLE_TOP));

    g_string_append(out, "\ninstructions that stall             VM "
                    "   cycles    %   L2 upgr othr   L3  mem\n");
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionPc *pc = all->pdata[i];

        g_string_append_printf(out, "0x%016" PRIx64 " %-5s %-6s %5u", pc->pc,
                               pc->user ? "user" : "priv.",
                               pc->fetch ? "fetch" : "data", pc->vm);
        put_costs(out, &pc->costs, whole);
    }
}

static void put_lines(GString *out, const CacheReport *r, uint64_t whole)
{
    g_autoptr(GPtrArray) all =
        attribution_top_lines(r->attribution, MIN(r->top, TABLE_TOP));

    g_string_append(out, "\nlines (first seen at)               VM "
                    "   cycles    %   L2 upgr othr   L3  mem\n");
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionLine *line = all->pdata[i];

        g_string_append_printf(out, "0x%016" PRIx64 " %-5s        %5u",
                               line->place.virtual,
                               line->place.user ? "user" : "priv.",
                               line->place.vm);
        put_costs(out, &line->costs, whole);
    }
}

/* "0,1,8-11", for bits 0, 1 and 8 to 11 */
static void put_bits(GString *out, uint64_t bits)
{
    bool first = true;

    for (unsigned i = 0; i < 64; i++) {
        unsigned end = i;

        if (!(bits >> i & 1)) {
            continue;
        }
        while (end < 63 && bits >> (end + 1) & 1) {
            end++;
        }
        g_string_append_printf(out, "%s%u", first ? "" : ",", i);
        if (end > i) {
            g_string_append_printf(out, "%c%u", end > i + 1 ? '-' : ',', end);
        }
        first = false;
        i = end;
    }
    if (first) {
        g_string_append_c(out, '-');
    }
}

static void put_watched(GString *out, const AttributionWatched *w)
{
    g_autoptr(GPtrArray) sites = sites_of(w);

    g_string_append_printf(out, "line 0x%" PRIx64 " (0x%" PRIx64 ", %s, VM %u)"
                           ": %" PRIu64 " misses, %" PRIu64 " cycles\n",
                           w->place.virtual, w->place.address,
                           w->place.user ? "user" : "priv.", w->place.vm,
                           w->shares.number[ATTRIBUTION_FALSE],
                           w->shares.stall[ATTRIBUTION_FALSE]);
    for (unsigned i = 0; i < MIN(sites->len, TABLE_SITES); i++) {
        const AttributionSite *s = sites->pdata[i];

        if (s->others) {
            g_string_append(out, "  others:");
        } else {
            g_string_append_printf(out, "  VCPU %u at 0x%" PRIx64 ":", s->vcpu,
                                   s->pc);
        }
        g_string_append(out, " reads ");
        put_bits(out, s->reads);
        g_string_append(out, " writes ");
        put_bits(out, s->writes);
        g_string_append_printf(out, " misses %" PRIu64 "\n",
                               s->shares.number[ATTRIBUTION_FALSE]);
    }
    if (sites->len > TABLE_SITES) {
        g_string_append_printf(out, "  and %u more\n",
                               sites->len - TABLE_SITES);
    }
}

static void put_sharing(GString *out, const CacheReport *r,
                        const AttributionSummary *s)
{
    g_autoptr(GPtrArray) all =
        attribution_top_watched(r->attribution, MIN(r->top, TABLE_TOP));

    g_string_append(out, "\nlines that others had written          "
                    "   misses   cycles\n");
    for (AttributionSharing k = 0; k < ATTRIBUTION_SHARINGS; k++) {
        static const char *const what[ATTRIBUTION_SHARINGS] = {
            [ATTRIBUTION_TRUE] = "true sharing",
            [ATTRIBUTION_FALSE] = "false sharing",
            [ATTRIBUTION_UNDECIDED] = "undecided",
            [ATTRIBUTION_UNKNOWN] = "unknown: the line was not watched",
            [ATTRIBUTION_UPGRADE] = "no misses: copies taken by a store",
        };

        g_string_append_printf(out, "%-38s", what[k]);
        put_number(out, 9, s->shares.number[k]);
        put_number(out, 8, s->shares.stall[k]);
        g_string_append_c(out, '\n');
    }
    g_string_append(out, "\nfalsely shared lines; words of 4 bytes that are "
                    "read and written\n");
    for (unsigned i = 0; i < all->len; i++) {
        const AttributionWatched *w = all->pdata[i];

        if (!w->shares.number[ATTRIBUTION_FALSE]) {
            break;
        }
        put_watched(out, w);
    }
}

static void put_dropped(GString *out, const char *what,
                        const struct AttributionTable *t)
{
    if (t->dropped) {
        g_string_append_printf(out, "%" PRIu64 " %s were left out; none of the "
                               "others lost more than %" PRIu64 " cycles\n",
                               t->dropped, what, t->error);
    }
}

GString *cache_report_table(const CacheReport *r)
{
    const CacheMachine *machine = cache_model_machine(r->model);
    GString *out = g_string_new(NULL);
    AttributionSummary s;

    g_string_append_printf(out, "caches of %u PCPUs, %u VCPUs, cycles %" PRId64
                           " to %" PRId64 "\n", machine->pcpus, machine->vcpus,
                           r->begin, r->end);
    put_objects(out, r);
    put_traffic(out, r);
    if (r->attribution) {
        attribution_summary(r->attribution, &s);
        put_pcs(out, r, attribution_stall(&s.all));
        put_dropped(out, "instructions", &s.pcs);
        put_lines(out, r, attribution_stall(&s.all));
        put_dropped(out, "lines", &s.lines);
        put_sharing(out, r, &s);
    }
    return out;
}

/* --- Statistics --- */

const CacheStatistic *cache_statistics(unsigned *n)
{
    static CacheStatistic *statistics;
    static unsigned number;

    if (!statistics) {
        GArray *all = g_array_new(false, false, sizeof(CacheStatistic));

        for (unsigned user = 0; user < 2; user++) {
            for (const CacheCounterName *name = cache_counter_names; name->name;
                 name++) {
                CacheStatistic s = {
                    .name = g_strdup_printf("%s-%s", mode_names[user],
                                            name->name),
                    .cycles = g_str_has_prefix(name->name, "stall-") ||
                              g_str_has_prefix(name->name, "wait-"),
                };

                g_array_append_val(all, s);
            }
        }
        number = all->len;
        statistics = (CacheStatistic *)g_array_free(all, false);
    }
    *n = number;
    return statistics;
}

void cache_statistics_read(const CacheModel *m, CacheObject object,
                           unsigned number, uint64_t *values)
{
    CacheReport r = { .model = m };
    Account account = account_of(&r, object, number);

    for (unsigned user = 0; user < 2; user++) {
        for (const CacheCounterName *name = cache_counter_names; name->name;
             name++) {
            *values++ = counter(&account.counters[user], name);
        }
    }
}
