/*
 * A sampling profile: moments, and counts by place.  See profile.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "core.h"
#include "profile.h"

static guint place_hash(gconstpointer key)
{
    const VschedProfilePlace *place = key;
    uint64_t h = place->pc * UINT64_C(0x9e3779b97f4a7c15);

    return (h >> 32) + place->vcpu * 4 + place->user * 2 + place->spinning +
           place->stack * 0x9e3779b9u;
}

static int compare_places(gconstpointer a, gconstpointer b)
{
    const VschedProfilePlace *x = a, *y = b;

    return x->vcpu != y->vcpu ? (x->vcpu > y->vcpu ? 1 : -1) :
           x->user != y->user ? x->user - y->user :
           x->spinning != y->spinning ? x->spinning - y->spinning :
           x->pc != y->pc ? (x->pc > y->pc ? 1 : -1) : 0;
}

static gboolean place_equal(gconstpointer a, gconstpointer b)
{
    const VschedProfilePlace *x = a, *y = b;

    return x->stack == y->stack && compare_places(a, b) == 0;
}

VschedProfile *vsched_profile_new(int vcpus, int64_t begin, int64_t interval,
                                  uint32_t seed)
{
    VschedProfile *p = g_new(VschedProfile, 1);

    g_assert(interval >= 1);
    *p = (VschedProfile) {
        .vcpus = vcpus,
        .begin = begin,
        .interval = interval,
        .seed = seed,
        .vcpu = g_new0(VschedProfileVCPU, vcpus),
        .places = g_hash_table_new_full(place_hash, place_equal, g_free, NULL),
        .stacks = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref),
        .stack_numbers = g_hash_table_new(g_bytes_hash, g_bytes_equal),
    };
    for (int v = 0; v < vcpus; v++) {
        p->vcpu[v].moment = vsched_profile_moment(p, v, 0);
    }
    return p;
}

void vsched_profile_free(VschedProfile *p)
{
    if (p) {
        g_hash_table_destroy(p->places);
        g_hash_table_destroy(p->stack_numbers);
        g_ptr_array_unref(p->stacks);
        g_free(p->vcpu);
        g_free(p);
    }
}

/* In its interval: 0 to @interval - 1. */
static int64_t offset(const VschedProfile *p, int vcpu, uint64_t n)
{
    uint64_t draw = vsched_draw(p->seed, vcpu, n);
    uint64_t high = (uint64_t)p->interval >> 32, low = (uint32_t)p->interval;

    return high * draw + (low * draw >> 32);
}

int64_t vsched_profile_moment(const VschedProfile *p, int vcpu, uint64_t n)
{
    if (n >= (uint64_t)(INT64_MAX - p->begin) / p->interval) {
        return INT64_MAX;
    }
    return p->begin + (int64_t)n * p->interval + offset(p, vcpu, n);
}

uint64_t vsched_profile_moments(const VschedProfile *p, int vcpu,
                                int64_t until)
{
    uint64_t n;

    if (until <= p->begin) {
        return 0;
    }
    n = (until - p->begin) / p->interval;       /* intervals that are over */
    return n + (vsched_profile_moment(p, vcpu, n) < until);
}

void vsched_profile_wait(VschedProfile *p, int vcpu, VschedProfileWait wait,
                         int64_t until)
{
    VschedProfileVCPU *v = &p->vcpu[vcpu];

    if (v->moment < until) {
        uint64_t n = vsched_profile_moments(p, vcpu, until);

        v->waiting[wait] += n - v->next;
        v->next = n;
        v->moment = vsched_profile_moment(p, vcpu, n);
    }
}

void vsched_profile_pass(VschedProfile *p, int vcpu)
{
    VschedProfileVCPU *v = &p->vcpu[vcpu];

    v->next++;
    v->moment = vsched_profile_moment(p, vcpu, v->next);
}

/*
 * ------------------------------------------------------------------------
 * Stacks are kept as words: the address of the block, the end, and two for each
 * caller.
 */

#define STACK_WORDS 2
#define CALLER_WORDS 2

/* The number of the stack of @n words; 0: there is no room. */
static uint32_t keep_stack(VschedProfile *p, const uint64_t *words, size_t n)
{
    g_autoptr(GBytes) stack = g_bytes_new(words, n * sizeof(*words));
    gpointer number = g_hash_table_lookup(p->stack_numbers, stack);

    if (!number && p->stack_words + n <= VSCHED_PROFILE_STACK_WORDS_MAX) {
        p->stack_words += n;
        g_ptr_array_add(p->stacks, g_bytes_ref(stack));
        number = GUINT_TO_POINTER(p->stacks->len);
        g_hash_table_insert(p->stack_numbers, stack, number);
    }
    return GPOINTER_TO_UINT(number);
}

uint32_t vsched_profile_stack(VschedProfile *p, const VschedStack *stack)
{
    uint64_t words[STACK_WORDS + CALLER_WORDS * VSCHED_STACK_MAX];
    size_t n = STACK_WORDS;
    uint32_t number;

    words[0] = stack->at;
    words[1] = stack->end;
    for (int i = 0; i < stack->callers; i++) {
        words[n++] = stack->caller[i].address;
        words[n++] = stack->caller[i].kind;
    }
    number = keep_stack(p, words, n);
    p->stackless += !number;
    return number;
}

static const uint64_t *stack_words(const VschedProfile *p, uint32_t number,
                                   size_t *n)
{
    gsize size;
    const uint64_t *words = g_bytes_get_data(p->stacks->pdata[number - 1],
                                             &size);

    *n = size / sizeof(*words);
    return words;
}

void vsched_profile_find_stack(const VschedProfile *p, uint32_t number,
                               VschedStack *stack)
{
    size_t n;
    const uint64_t *words = stack_words(p, number, &n);

    stack->at = words[0];
    stack->end = words[1];
    stack->callers = (n - STACK_WORDS) / CALLER_WORDS;
    for (int i = 0; i < stack->callers; i++) {
        stack->caller[i].address = words[STACK_WORDS + CALLER_WORDS * i];
        stack->caller[i].kind = words[STACK_WORDS + CALLER_WORDS * i + 1];
    }
}

/* By what is in them: numbers depend on which was seen first. */
static int compare_stacks(const VschedProfile *p, uint32_t a, uint32_t b)
{
    const uint64_t *x, *y;
    size_t n, m;

    if (a == b || !a || !b) {
        return a == b ? 0 : a ? 1 : -1;
    }
    x = stack_words(p, a, &n);
    y = stack_words(p, b, &m);
    for (size_t i = 0; i < MIN(n, m); i++) {
        if (x[i] != y[i]) {
            return x[i] > y[i] ? 1 : -1;
        }
    }
    return n != m ? (n > m ? 1 : -1) : 0;
}

static int compare_for_output(gconstpointer a, gconstpointer b, gpointer p)
{
    const VschedProfilePlace *x = a, *y = b;
    int order = compare_places(a, b);

    return order ? order : compare_stacks(p, x->stack, y->stack);
}

/*
 * ------------------------------------------------------------------------
 */

void vsched_profile_count(VschedProfile *p, VschedProfilePlace place)
{
    VschedProfilePlace *found = g_hash_table_lookup(p->places, &place);

    p->vcpu[place.vcpu].running[place.user][place.spinning] += place.count;
    if (found) {
        found->count += place.count;
    } else {
        g_hash_table_add(p->places, g_memdup2(&place, sizeof(place)));
    }
}

GArray *vsched_profile_places(const VschedProfile *p)
{
    GArray *places = g_array_new(false, false, sizeof(VschedProfilePlace));
    VschedProfilePlace *place;
    GHashTableIter i;

    g_hash_table_iter_init(&i, p->places);
    while (g_hash_table_iter_next(&i, (gpointer *)&place, NULL)) {
        g_array_append_vals(places, place, 1);
    }
    g_array_sort_with_data(places, compare_for_output, (gpointer)p);
    return places;
}

/*
 * ------------------------------------------------------------------------
 * Saved states: a head, the VCPUs, the stacks by number, the places.
 */

#define HEAD_WORDS 7
#define VCPU_WORDS (1 + VSCHED_PROFILE_WAITS)
#define PLACE_WORDS 4

static void add(GArray *words, int64_t word)
{
    g_array_append_val(words, word);
}

void vsched_profile_save(const VschedProfile *p, GArray *words)
{
    g_autoptr(GArray) places = vsched_profile_places(p);

    add(words, p->vcpus);
    add(words, p->begin);
    add(words, p->interval);
    add(words, p->seed);
    add(words, places->len);
    add(words, p->stacks->len);
    add(words, p->stackless);
    for (int v = 0; v < p->vcpus; v++) {
        add(words, p->vcpu[v].next);
        for (int i = 0; i < VSCHED_PROFILE_WAITS; i++) {
            add(words, p->vcpu[v].waiting[i]);
        }
    }
    for (guint i = 0; i < p->stacks->len; i++) {
        size_t n;
        const uint64_t *stack = stack_words(p, i + 1, &n);

        add(words, n);
        g_array_append_vals(words, stack, n);
    }
    for (guint i = 0; i < places->len; i++) {
        const VschedProfilePlace *place =
            &g_array_index(places, VschedProfilePlace, i);

        add(words, place->vcpu * 4 + place->user * 2 + place->spinning);
        add(words, place->pc);
        add(words, place->stack);
        add(words, place->count);
    }
}

/* No counter gets there. */
#define MANY (INT64_C(1) << 56)

static bool is_count(int64_t word)
{
    return word >= 0 && word < MANY;
}

static bool load_vcpu(VschedProfileVCPU *v, const int64_t *words)
{
    bool ok = is_count(words[0]);

    v->next = words[0];
    for (int i = 0; i < VSCHED_PROFILE_WAITS; i++) {
        ok &= is_count(words[1 + i]);
        v->waiting[i] = words[1 + i];
    }
    return ok;
}

static bool load_place(VschedProfile *p, const int64_t *words)
{
    const VschedProfilePlace place = {
        .vcpu = words[0] / 4,
        .user = words[0] & 2,
        .spinning = words[0] & 1,
        .pc = words[1],
        .stack = words[2],
        .count = words[3],
    };

    if (words[0] < 0 || words[0] / 4 >= p->vcpus || !is_count(words[3]) ||
        words[2] < 0 || words[2] > p->stacks->len ||
        g_hash_table_lookup(p->places, &place)) {
        return false;
    }
    vsched_profile_count(p, place);
    return true;
}

/* The next stack, at words[*at] of @n; one that is there already is bad. */
static bool load_stack(VschedProfile *p, const int64_t *words, size_t n,
                       size_t *at)
{
    int64_t length = *at < n ? words[*at] : 0;
    const uint64_t *stack = (const uint64_t *)words + *at + 1;
    guint before = p->stacks->len;

    if (length < STACK_WORDS || length > n - *at - 1 ||
        (length - STACK_WORDS) % CALLER_WORDS ||
        (length - STACK_WORDS) / CALLER_WORDS > VSCHED_STACK_MAX ||
        stack[1] >= VSCHED_STACK_ENDS) {
        return false;
    }
    *at += 1 + length;
    keep_stack(p, stack, length);
    return p->stacks->len == before + 1;
}

VschedProfile *vsched_profile_load(const int64_t *words, size_t n,
                                   size_t *used)
{
    VschedProfile *p;
    bool ok = true;
    size_t at = HEAD_WORDS;

    if (n < HEAD_WORDS || words[0] < 1 || words[0] > n / VCPU_WORDS ||
        !is_count(words[1]) || words[2] < 1 || words[2] >= MANY ||
        words[3] < 0 || words[3] > UINT32_MAX ||
        words[4] < 0 || words[4] > n / PLACE_WORDS ||
        words[5] < 0 || words[5] > n / STACK_WORDS || !is_count(words[6]) ||
        n < HEAD_WORDS + words[0] * VCPU_WORDS + words[4] * PLACE_WORDS) {
        return NULL;
    }
    p = vsched_profile_new(words[0], words[1], words[2], words[3]);
    for (int v = 0; v < p->vcpus; v++, at += VCPU_WORDS) {
        ok = ok && load_vcpu(&p->vcpu[v], words + at);
        p->vcpu[v].moment = vsched_profile_moment(p, v, p->vcpu[v].next);
    }
    p->stackless = words[6];
    for (int64_t i = 0; ok && i < words[5]; i++) {
        ok = load_stack(p, words, n, &at);
    }
    for (int64_t i = 0; ok && i < words[4]; i++, at += PLACE_WORDS) {
        ok = n - at >= PLACE_WORDS && load_place(p, words + at);
    }
    if (!ok) {
        vsched_profile_free(p);
        return NULL;
    }
    *used = at;
    return p;
}
