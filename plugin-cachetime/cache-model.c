/*
 * The cache model: its parts, accesses, VCPU switches, rights, counters
 *
 * See cache-model.h.  What an access does to the caches is in coherence.c.
 *
 * Copyright (c) 2026 The cmp8 developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "cache-internal.h"

#define WORD 8                  /* bytes: a register of a VCPU's state */

/* Each cache draws its own random numbers. */
enum { SEED_L1I, SEED_L1D, SEED_L2, SEED_L3, SEEDS };

/* --- Making one --- */

static void init_array(CacheArray *a, const CacheModel *m,
                       const CacheLevelConfig *level, unsigned pcpu,
                       unsigned which)
{
    cache_array_init(a, level->size / (level->ways * m->config.line),
                     level->ways, level->replacement,
                     cache_random(m->machine.seed, SEEDS * pcpu + which,
                                  UINT32_MAX));
}

static Reservation *new_banks(const CacheLevelConfig *level)
{
    Reservation *bank = g_new(Reservation, level->banks);

    for (unsigned i = 0; i < level->banks; i++) {
        reservation_init(&bank[i], level->bank_cycles, 1);
    }
    return bank;
}

static void free_banks(Reservation *bank, const CacheLevelConfig *level)
{
    for (unsigned i = 0; bank && i < level->banks; i++) {
        reservation_destroy(&bank[i]);
    }
    g_free(bank);
}

/* A slot for each line; less than one for each cycle, if the link is wide */
static void init_link(Reservation *link, const CacheConfig *c)
{
    reservation_init(link, c->line, c->link_width);
}

static void init_pcpu(CacheModel *m, unsigned pcpu)
{
    CachePcpu *p = &m->pcpu[pcpu];
    const CacheConfig *c = &m->config;

    init_array(&p->l1[CACHE_SIDE_I], m, &c->l1i, pcpu, SEED_L1I);
    init_array(&p->l1[CACHE_SIDE_D], m, &c->l1d, pcpu, SEED_L1D);
    init_array(&p->l2, m, &c->l2, pcpu, SEED_L2);
    for (CacheSide side = 0; side < CACHE_SIDES; side++) {
        p->grant[side] = g_new0(CacheGrant, p->l1[side].sets);
    }
    p->granted = g_new0(uint8_t, p->l1[CACHE_SIDE_I].sets *
                                 p->l1[CACHE_SIDE_I].stride);
    p->l2_bank = new_banks(&c->l2);
    init_link(&p->link_in, c);
    init_link(&p->link_out, c);
}

static void init_latencies(CacheModel *m)
{
    const CacheConfig *c = &m->config;

    m->hop = c->link_latency;
    m->l1_latency[CACHE_SIDE_I] = c->l1i.latency;
    m->l1_latency[CACHE_SIDE_D] = c->l1d.latency;
    m->l2_array = c->l2.latency - c->l1d.latency;
    m->l3_array = c->l3.latency - c->l2.latency - 2 * c->link_latency;
    m->memory_array = c->memory_latency - c->l2.latency -
                      2 * c->link_latency - c->directory_latency;
}

static void init_vcpus(CacheModel *m, const CacheMachine *machine)
{
    m->vm = g_memdup2(machine->vm, machine->vcpus * sizeof(machine->vm[0]));
    m->machine.vm = m->vm;
    m->vcpu = g_malloc0_n(machine->vcpus, sizeof(m->vcpu[0]));
    m->state_lines = ((uint64_t)machine->state_words * WORD +
                      m->config.line - 1) >> m->line_shift;
}

static bool check_machine(const CacheConfig *c, const CacheMachine *machine,
                          char **why)
{
    if (machine->pcpus < 1 || machine->pcpus > CACHE_PCPUS_MAX) {
        *why = g_strdup_printf("the cache model has 1 to %d PCPUs, not %u",
                               CACHE_PCPUS_MAX, machine->pcpus);
        return false;
    }
    if (machine->vcpus < 1 || machine->vms < 1) {
        *why = g_strdup("the cache model needs a VCPU and a VM");
        return false;
    }
    for (unsigned v = 0; v < machine->vcpus; v++) {
        if (machine->vm[v] >= machine->vms) {
            *why = g_strdup_printf("VCPU %u is of VM %u: there are VMs 0 to %u",
                                   v, machine->vm[v], machine->vms - 1);
            return false;
        }
    }
    if (machine->state_base & (c->line - 1)) {
        *why = g_strdup_printf("the VCPUs' states are at 0x%" G_GINT64_MODIFIER
                               "x: allowed are multiples of a line, %u bytes",
                               machine->state_base, (unsigned)c->line);
        return false;
    }
    return true;
}

CacheModel *cache_model_new(const CacheConfig *config,
                            const CacheMachine *machine, char **why)
{
    CacheModel *m;

    if (!cache_config_check(config, why) ||
        !check_machine(config, machine, why)) {
        return NULL;
    }
    m = g_new0(CacheModel, 1);
    m->config = *config;
    m->machine = *machine;
    m->line_shift = __builtin_ctzll(config->line);
    init_latencies(m);
    init_vcpus(m, machine);
    m->pcpu = g_new0(CachePcpu, machine->pcpus);
    for (unsigned i = 0; i < machine->pcpus; i++) {
        init_pcpu(m, i);
    }
    init_array(&m->l3, m, &config->l3, 0, SEED_L3);
    m->l3_bank = new_banks(&config->l3);
    reservation_init(&m->memory, config->line * 1000,
                     config->memory_bandwidth);
    directory_init(&m->directory);
    first_touch_init(&m->touched, machine->pcpus);
    return m;
}

static void destroy_pcpu(CacheModel *m, CachePcpu *p)
{
    for (CacheSide side = 0; side < CACHE_SIDES; side++) {
        cache_array_destroy(&p->l1[side]);
        g_free(p->grant[side]);
    }
    g_free(p->granted);
    cache_array_destroy(&p->l2);
    free_banks(p->l2_bank, &m->config.l2);
    reservation_destroy(&p->link_in);
    reservation_destroy(&p->link_out);
}

/* All but the structure itself */
void cache_model_destroy(CacheModel *m)
{
    for (unsigned i = 0; i < m->machine.pcpus; i++) {
        destroy_pcpu(m, &m->pcpu[i]);
    }
    g_free(m->pcpu);
    cache_array_destroy(&m->l3);
    free_banks(m->l3_bank, &m->config.l3);
    reservation_destroy(&m->memory);
    directory_destroy(&m->directory);
    first_touch_destroy(&m->touched);
    g_free(m->vcpu);
    g_free(m->vm);
    g_free(m->outcome);
}

void cache_model_free(CacheModel *m)
{
    if (m) {
        cache_model_destroy(m);
        g_free(m);
    }
}

const CacheConfig *cache_model_config(const CacheModel *m)
{
    return &m->config;
}

const CacheMachine *cache_model_machine(const CacheModel *m)
{
    return &m->machine;
}

/* --- Accesses --- */

/* There is room for the outcomes of @n lines. */
static void expect_outcomes(CacheModel *m, unsigned n)
{
    m->outcomes = n;
    if (n > m->outcomes_max) {
        m->outcomes_max = n;
        m->outcome = g_renew(CacheOutcome, m->outcome, n);
    }
}

/* One of @lines lines, or one that neither L1 nor L2 can answer */
static int64_t access_lines(CacheModel *m, const CacheAccess *access,
                            unsigned lines)
{
    CacheRequest r = cache_request(m, access);
    int64_t stall = 0;

    for (unsigned n = 0; n < lines; n++) {
        cache_begin_line(&r, access->kind, n);
        stall += cache_access_line(&r);
        r.line = (r.line + 1) & UINT64_MAX >> m->line_shift;
        r.time = access->cycle + stall;
        r.asks_again = r.l2_missed = false;
    }
    return stall;
}

int64_t cache_model_access(CacheModel *m, const CacheAccess *access)
{
    unsigned offset = access->address & (m->config.line - 1);
    unsigned lines = 1 + ((offset + access->size - 1) >> m->line_shift);
    int64_t stall = CACHE_NOT_QUICK;

    expect_outcomes(m, lines);
    if (lines == 1) {
        stall = cache_access_quickly(m, access);
    }
    return stall != CACHE_NOT_QUICK ? stall : access_lines(m, access, lines);
}

const CacheOutcome *cache_model_outcomes(const CacheModel *m, unsigned *n)
{
    *n = m->outcomes;
    return m->outcome;
}

void cache_model_forget_before(CacheModel *m, int64_t cycle)
{
    m->horizon = MAX(m->horizon, cycle);
}

/* --- VCPU switch --- */

/*
 * Moves @words words of @vcpu's state: the first of a line is an access, the
 * others hit the line that was accessed last.
 */
static int64_t move_state(CacheModel *m, const CacheSwitch *s, int64_t cycle,
                          unsigned vcpu, unsigned words, CacheKind kind)
{
    unsigned words_in_line = MIN(words, m->config.line / WORD);
    CacheAccess access = {
        .cycle = cycle,
        .address = m->machine.state_base +
                   (vcpu * m->state_lines << m->line_shift),
        .size = WORD,
        .pcpu = s->pcpu,
        .vcpu = vcpu,
        .kind = kind,
    };

    while (words) {
        unsigned n = MIN(words, words_in_line);

        access.cycle += cache_model_access(m, &access) +
                        n * m->config.switch_word_cycles;
        access.address += m->config.line;
        cache_model_add_hits(m, s->pcpu, vcpu, kind, false, n - 1);
        words -= n;
    }
    return access.cycle;
}

int64_t cache_model_switch(CacheModel *m, const CacheSwitch *s)
{
    int64_t cycle = s->cycle;

    g_assert(s->words_out <= m->machine.state_words &&
             s->words_in <= m->machine.state_words);
    if (s->out != CACHE_NO_VCPU) {
        cycle = move_state(m, s, cycle, s->out, s->words_out,
                           CACHE_MODEL_STORE);
    }
    if (s->in != CACHE_NO_VCPU) {
        cycle = move_state(m, s, cycle, s->in, s->words_in, CACHE_MODEL_LOAD);
    }
    return cycle - s->cycle;
}

/* --- The filter --- */

/* The place of @line in an L1, most likely that of the last access */
static inline int64_t place_in_l1(const CachePcpu *p, CacheSide side,
                                  uint32_t set, uint64_t line)
{
    const CacheArray *l1 = &p->l1[side];
    int64_t recent = p->recent_place[side];

    return cache_array_line(l1, recent) == line &&
           cache_state_valid(cache_array_state(l1, recent)) ? recent :
           cache_array_find_in(l1, (int64_t)set * l1->stride, line);
}

unsigned cache_model_grant(CacheModel *m, unsigned pcpu, CacheKind kind,
                           uint64_t address)
{
    CacheSide side = cache_side_of(kind);
    CachePcpu *p = &m->pcpu[pcpu];
    uint64_t line = address >> m->line_shift;
    uint32_t set = cache_array_set(&p->l1[side], line);
    CacheGrant *grant = &p->grant[side][set];
    int64_t place;

    if (!m->withdraw ||
        (!cache_grants_all(m, side) && grant->line != line)) {
        return 0;
    }
    place = place_in_l1(p, side, set, line);
    if (place == CACHE_NOWHERE) {
        return 0;
    }
    if (cache_grants_all(m, side)) {
        p->granted[place] = 1;
        return CACHE_MAY_READ;
    }
    grant->rights = CACHE_MAY_READ;
    if (cache_array_state(&p->l1[side], place) == CACHE_MODIFIED) {
        grant->rights |= CACHE_MAY_WRITE;
    }
    return grant->rights;
}

void cache_model_on_withdraw(CacheModel *m, CacheWithdraw *function,
                             void *opaque)
{
    m->withdraw = function;
    m->withdraw_opaque = opaque;
}

void cache_model_on_recency(CacheModel *m, CacheRecency *function)
{
    g_assert(m->withdraw);
    if (m->config.l1i.replacement != CACHE_PLRU) {
        m->recency = function;
    }
}

bool cache_model_grants_all_code(const CacheModel *m)
{
    return cache_grants_all(m, CACHE_SIDE_I);
}

/* Only LRU depends on hits; elsewhere, the clock counts something else. */
static bool has_recency(const CacheModel *m)
{
    return m->recency && m->config.l1i.replacement == CACHE_LRU;
}

uint64_t cache_model_code_clock(const CacheModel *m, unsigned pcpu)
{
    return m->pcpu[pcpu].l1[CACHE_SIDE_I].clock;
}

void cache_model_set_code_clock(CacheModel *m, unsigned pcpu, uint64_t clock)
{
    CacheArray *l1i = &m->pcpu[pcpu].l1[CACHE_SIDE_I];

    if (has_recency(m)) {
        l1i->clock = MAX(l1i->clock, clock);
    }
}

/* A line of @place of the L1I was accessed at @clock, or later. */
static void settle(CacheArray *l1i, int64_t place, uint64_t clock)
{
    uint64_t *stamp = cache_array_stamp(l1i, place);

    *stamp = MAX(*stamp, clock);
    l1i->clock = MAX(l1i->clock, clock);
}

void cache_model_settle_line(CacheModel *m, unsigned pcpu, uint64_t address,
                             uint64_t clock)
{
    CacheArray *l1i = &m->pcpu[pcpu].l1[CACHE_SIDE_I];
    int64_t place = cache_array_find(l1i, address >> m->line_shift);

    if (has_recency(m) && place != CACHE_NOWHERE) {
        settle(l1i, place, clock);
    }
}

/* The filter tells when it saw lines of the set that begins at @first last. */
void cache_model_settle_set(CacheModel *m, unsigned pcpu, int64_t first)
{
    CachePcpu *p = &m->pcpu[pcpu];
    CacheArray *l1i = &p->l1[CACHE_SIDE_I];

    for (int64_t i = first; has_recency(m) && i < first + l1i->ways; i++) {
        if (p->granted[i]) {
            settle(l1i, i, m->recency(m->withdraw_opaque, pcpu,
                                      cache_array_line(l1i, i) <<
                                      m->line_shift));
        }
    }
}

void cache_model_settle(CacheModel *m)
{
    for (unsigned pcpu = 0; pcpu < m->machine.pcpus; pcpu++) {
        const CacheArray *l1i = &m->pcpu[pcpu].l1[CACHE_SIDE_I];

        for (uint32_t set = 0; set < l1i->sets; set++) {
            cache_model_settle_set(m, pcpu, (int64_t)set * l1i->stride);
        }
    }
}

uint32_t cache_model_l1_sets(const CacheModel *m, CacheKind kind)
{
    return m->pcpu[0].l1[cache_side_of(kind)].sets;
}

uint32_t cache_model_l1_set(const CacheModel *m, CacheKind kind,
                            uint64_t address)
{
    return cache_array_set(&m->pcpu[0].l1[cache_side_of(kind)],
                           address >> m->line_shift);
}

void cache_model_add_hits(CacheModel *m, unsigned pcpu, unsigned vcpu,
                          CacheKind kind, bool user, uint64_t n)
{
    m->pcpu[pcpu].counters[user].accesses[kind] += n;
    m->vcpu[vcpu][user].accesses[kind] += n;
}

/* --- Counters --- */

#define COUNTER(name, field) { name, offsetof(CacheCounters, field) }
#define MISS(name, level, kind) COUNTER(name, misses[level][kind])

const CacheCounterName cache_counter_names[] = {
    COUNTER("fetches", accesses[CACHE_FETCH]),
    COUNTER("loads", accesses[CACHE_LOAD]),
    COUNTER("stores", accesses[CACHE_STORE]),
    COUNTER("model-loads", accesses[CACHE_MODEL_LOAD]),
    COUNTER("model-stores", accesses[CACHE_MODEL_STORE]),
    MISS("l1i-misses-compulsory", CACHE_L1I, CACHE_COMPULSORY),
    MISS("l1i-misses-capacity", CACHE_L1I, CACHE_CAPACITY),
    MISS("l1i-misses-coherence", CACHE_L1I, CACHE_COHERENCE),
    MISS("l1d-misses-compulsory", CACHE_L1D, CACHE_COMPULSORY),
    MISS("l1d-misses-capacity", CACHE_L1D, CACHE_CAPACITY),
    MISS("l1d-misses-coherence", CACHE_L1D, CACHE_COHERENCE),
    MISS("l2-misses-compulsory", CACHE_L2, CACHE_COMPULSORY),
    MISS("l2-misses-capacity", CACHE_L2, CACHE_CAPACITY),
    MISS("l2-misses-coherence", CACHE_L2, CACHE_COHERENCE),
    COUNTER("l2-fetch-misses", l2_fetch_misses),
    /* Nothing is taken away from the L3. */
    MISS("l3-misses-compulsory", CACHE_L3, CACHE_COMPULSORY),
    MISS("l3-misses-capacity", CACHE_L3, CACHE_CAPACITY),
    COUNTER("l1d-upgrades", upgrades),
    COUNTER("served-by-l2", served[CACHE_BY_L2]),
    COUNTER("served-by-upgrade", served[CACHE_BY_UPGRADE]),
    COUNTER("served-by-transfer", served[CACHE_BY_TRANSFER]),
    COUNTER("served-by-l3", served[CACHE_BY_L3]),
    COUNTER("served-by-memory", served[CACHE_BY_MEMORY]),
    COUNTER("stall-l2", stall[CACHE_BY_L2]),
    COUNTER("stall-upgrade", stall[CACHE_BY_UPGRADE]),
    COUNTER("stall-transfer", stall[CACHE_BY_TRANSFER]),
    COUNTER("stall-l3", stall[CACHE_BY_L3]),
    COUNTER("stall-memory", stall[CACHE_BY_MEMORY]),
    COUNTER("wait-l2-bank", waits[CACHE_L2_BANK]),
    COUNTER("wait-l3-bank", waits[CACHE_L3_BANK]),
    COUNTER("wait-link", waits[CACHE_LINK]),
    COUNTER("wait-memory", waits[CACHE_MEMORY]),
    COUNTER("invalidations", invalidations),
    COUNTER("l1d-write-backs", write_backs[CACHE_L1D]),
    COUNTER("l2-write-backs", write_backs[CACHE_L2]),
    COUNTER("l3-write-backs", write_backs[CACHE_L3]),
    COUNTER("l2-clean-victims", clean_victims),
    COUNTER("memory-writes", memory_writes),
    { NULL }
};

void cache_counters_add(CacheCounters *sum, const CacheCounters *more)
{
    uint64_t *s = (uint64_t *)sum;
    const uint64_t *n = (const uint64_t *)more;

    for (size_t i = 0; i < sizeof(*sum) / sizeof(*s); i++) {
        s[i] += n[i];
    }
}

void cache_model_pcpu_counters(const CacheModel *m, unsigned pcpu, bool user,
                               CacheCounters *counters)
{
    *counters = m->pcpu[pcpu].counters[user];
}

void cache_model_vcpu_counters(const CacheModel *m, unsigned vcpu, bool user,
                               CacheCounters *counters)
{
    *counters = m->vcpu[vcpu][user];
}

void cache_model_vm_counters(const CacheModel *m, unsigned vm, bool user,
                             CacheCounters *counters)
{
    memset(counters, 0, sizeof(*counters));
    for (unsigned v = 0; v < m->machine.vcpus; v++) {
        if (m->vm[v] == vm) {
            cache_counters_add(counters, &m->vcpu[v][user]);
        }
    }
}

const CacheEvents *cache_model_events(const CacheModel *m, unsigned pcpu)
{
    return &m->pcpu[pcpu].events;
}

void cache_model_reset_counters(CacheModel *m)
{
    for (unsigned i = 0; i < m->machine.pcpus; i++) {
        memset(m->pcpu[i].counters, 0, sizeof(m->pcpu[i].counters));
        memset(&m->pcpu[i].events, 0, sizeof(m->pcpu[i].events));
    }
    memset(m->vcpu, 0, m->machine.vcpus * sizeof(m->vcpu[0]));
}

/* --- Memory --- */

static size_t reservation_memory(const Reservation *r)
{
    return sizeof(*r) + r->words * sizeof(r->taken[0]);
}

static size_t banks_memory(const Reservation *bank, uint64_t banks)
{
    size_t sum = 0;

    for (unsigned i = 0; i < banks; i++) {
        sum += reservation_memory(&bank[i]);
    }
    return sum;
}

static size_t pcpu_memory(const CacheModel *m, const CachePcpu *p)
{
    size_t sum = sizeof(*p) + cache_array_memory(&p->l2) +
                 banks_memory(p->l2_bank, m->config.l2.banks) +
                 reservation_memory(&p->link_in) +
                 reservation_memory(&p->link_out);

    for (CacheSide side = 0; side < CACHE_SIDES; side++) {
        sum += cache_array_memory(&p->l1[side]) +
               p->l1[side].sets * sizeof(p->grant[side][0]);
    }
    return sum;
}

size_t cache_model_memory(const CacheModel *m)
{
    size_t sum = sizeof(*m) + cache_array_memory(&m->l3) +
                 banks_memory(m->l3_bank, m->config.l3.banks) +
                 reservation_memory(&m->memory) +
                 (sizeof(m->directory.entry[0]) << m->directory.bits) +
                 g_hash_table_size(m->touched.regions) *
                 first_touch_region_size(&m->touched) +
                 m->machine.vcpus * (sizeof(m->vcpu[0]) + sizeof(m->vm[0])) +
                 m->outcomes_max * sizeof(m->outcome[0]);

    for (unsigned i = 0; i < m->machine.pcpus; i++) {
        sum += pcpu_memory(m, &m->pcpu[i]);
    }
    return sum;
}
