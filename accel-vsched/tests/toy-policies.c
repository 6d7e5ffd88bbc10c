/*
 * Policies that do what those of the list do not: for unit tests alone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "toy-policies.h"

typedef struct Toy {
    const VschedServices *services;
    int64_t timeslice;
    GQueue queue;               /* VCPUs that wait */
    int64_t *left;              /* of each VCPU: cycles of this round */
    int64_t *held_until;        /* of each VCPU: cycle */
    int64_t round_end;          /* cycle; INT64_MAX: there are no rounds */
    Wrong wrong;                /* toy_wrong */
    int wrong_vcpu;
} Toy;

static void *create(const VschedServices *services, const int64_t *values,
                    char **why)
{
    Toy *toy = g_new0(Toy, 1);
    int vcpus = services->topology->vcpus;

    toy->services = services;
    toy->timeslice = values[0];
    toy->left = g_new(int64_t, vcpus);
    toy->held_until = g_new0(int64_t, vcpus);
    for (int v = 0; v < vcpus; v++) {
        toy->left[v] = INT64_MAX;
    }
    toy->round_end = INT64_MAX;
    return toy;
}

static void destroy(void *policy)
{
    Toy *toy = policy;

    g_queue_clear(&toy->queue);
    g_free(toy->left);
    g_free(toy->held_until);
    g_free(toy);
}

static bool toy_set(void *policy, const int64_t *values, char **why)
{
    Toy *toy = policy;

    toy->timeslice = values[0];
    return true;
}

static int place(void *policy, int vcpu)
{
    return VSCHED_NONE;
}

static void enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                    int64_t now)
{
    Toy *toy = policy;

    g_assert_null(g_queue_find(&toy->queue, GINT_TO_POINTER(vcpu)));
    g_assert_cmpint(why, !=, VSCHED_STOPPED);
    g_assert_cmpint(since, <=, MAX(now, since));
    g_queue_push_tail(&toy->queue, GINT_TO_POINTER(vcpu));
}

static void dequeue(void *policy, int vcpu, int64_t now)
{
    Toy *toy = policy;

    g_assert_true(g_queue_remove(&toy->queue, GINT_TO_POINTER(vcpu)));
}

/* The first that may run on @pcpu at @now. */
static int first(Toy *toy, int pcpu, int64_t now)
{
    const VschedTopology *t = toy->services->topology;

    for (GList *l = toy->queue.head; l; l = l->next) {
        int v = GPOINTER_TO_INT(l->data);

        if (t->allowed[v] >> pcpu & 1 && toy->left[v] > 0 &&
            toy->held_until[v] <= now) {
            return v;
        }
    }
    return VSCHED_NONE;
}

static VschedPick pick(void *policy, int pcpu, int64_t now)
{
    Toy *toy = policy;
    VschedPick pick = { .vcpu = first(toy, pcpu, now) };

    if (pick.vcpu != VSCHED_NONE) {
        dequeue(toy, pick.vcpu, now);
        pick.timeslice = MIN(toy->timeslice, toy->left[pick.vcpu]);
    }
    return pick;
}

static VschedPick exact_pick(void *policy, int pcpu, int64_t now)
{
    VschedPick p = pick(policy, pcpu, now);

    p.exact = true;
    return p;
}

static VschedPick precise_pick(void *policy, int pcpu, int64_t now)
{
    VschedPick p = pick(policy, pcpu, now);

    p.precise = true;
    return p;
}

static bool waiting(void *policy, int pcpu, int64_t now)
{
    return first(policy, pcpu, now) != VSCHED_NONE;
}

static VschedPick take_over(void *policy, int pcpu, int vcpu, int64_t used,
                            int64_t now)
{
    Toy *toy = policy;

    return (VschedPick) { .vcpu = vcpu, .timeslice = toy->timeslice };
}

/* Queue and accounts */
static void save(void *policy, GArray *words)
{
    Toy *toy = policy;
    int vcpus = toy->services->topology->vcpus;

    for (GList *l = toy->queue.head; l; l = l->next) {
        int64_t v = GPOINTER_TO_INT(l->data);

        g_array_append_val(words, v);
    }
    g_array_append_vals(words, toy->left, vcpus);
    g_array_append_vals(words, toy->held_until, vcpus);
    g_array_append_val(words, toy->round_end);
}

static bool load(void *policy, const int64_t *words, int n)
{
    Toy *toy = policy;
    int vcpus = toy->services->topology->vcpus, waiting = toy->queue.length;

    if (n != waiting + 2 * vcpus + 1) {
        return false;
    }
    for (int i = 0; i < waiting; i++) {
        dequeue(toy, words[i], 0);
        g_queue_push_tail(&toy->queue, GINT_TO_POINTER((int)words[i]));
    }
    words += waiting;
    for (int v = 0; v < vcpus; v++) {
        toy->left[v] = words[v];
        toy->held_until[v] = words[vcpus + v];
    }
    toy->round_end = words[2 * vcpus];
    return true;
}

static int64_t longest_wait(void *policy, int64_t switch_cost, int64_t window)
{
    return INT64_MAX;           /* masks and caps may starve */
}

/* What the toys have in common. */
#define TOY(name_, create_, enqueue_, pick_)    \
    .name = name_,                              \
    .create = create_,                          \
    .destroy = destroy,                         \
    .set = toy_set,                             \
    .place = place,                             \
    .enqueue = enqueue_,                        \
    .dequeue = dequeue,                         \
    .pick = pick_,                              \
    .waiting = waiting,                         \
    .take_over = take_over,                     \
    .save = save,                               \
    .load = load,                               \
    .longest_wait = longest_wait

const VschedPolicyOps toy_shared = {
    TOY("toy-shared", create, enqueue, pick),
};

const VschedPolicyOps toy_exact = {
    TOY("toy-exact", create, enqueue, exact_pick),
};

const VschedPolicyOps toy_precise = {
    TOY("toy-precise", create, enqueue, precise_pick),
};

/*
 * ------------------------------------------------------------------------
 * Held back until a tick.
 */

static void new_round(Toy *toy, int64_t now)
{
    for (int v = 0; v < toy->services->topology->vcpus; v++) {
        toy->left[v] = toy->timeslice;
    }
    toy->round_end = now + 4 * toy->timeslice;
}

static void *capped_create(const VschedServices *services,
                           const int64_t *values, char **why)
{
    Toy *toy = create(services, values, why);

    new_round(toy, 0);
    return toy;
}

static void capped_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                        VschedWhy why, int64_t now)
{
    Toy *toy = policy;

    toy->left[vcpu] -= ran;
}

static int64_t capped_next_tick(void *policy)
{
    Toy *toy = policy;

    return toy->round_end;
}

static void capped_tick(void *policy, int64_t now)
{
    Toy *toy = policy;

    g_assert_cmpint(now, >=, toy->round_end);
    new_round(toy, now);
}

const VschedPolicyOps toy_capped = {
    TOY("toy-capped", capped_create, enqueue, pick),
    .stop = capped_stop,
    .next_tick = capped_next_tick,
    .tick = capped_tick,
};

/*
 * ------------------------------------------------------------------------
 * Held back, and nobody knows until when.
 */

static void silent_enqueue(void *policy, int vcpu, VschedWhy why,
                           int64_t since, int64_t now)
{
    Toy *toy = policy;

    enqueue(policy, vcpu, why, since, now);
    toy->held_until[vcpu] = why == VSCHED_WOKEN ? now + toy->timeslice : 0;
}

const VschedPolicyOps toy_silent = {
    TOY("toy-silent", create, silent_enqueue, pick),
};

/*
 * ------------------------------------------------------------------------
 * Preemption.
 */

static void rude_enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                         int64_t now)
{
    Toy *toy = policy;

    enqueue(policy, vcpu, why, since, now);
    if (why == VSCHED_WOKEN) {
        toy->services->preempt(toy->services->engine,
                               vcpu % toy->services->topology->pcpus);
    }
}

static bool rude_hint(void *policy, const VschedHint *hint)
{
    return true;
}

const VschedPolicyOps toy_rude = {
    TOY("toy-rude", create, rude_enqueue, pick),
    .hints = VSCHED_LISTEN(VSCHED_HINT_SPIN) | VSCHED_LISTEN(VSCHED_HINT_USER),
    .hint = rude_hint,
};

/*
 * ------------------------------------------------------------------------
 * Impossible.
 */

static bool odd(const int64_t *values, char **why)
{
    if (values[0] % 2) {
        *why = g_strdup_printf("a timeslice of %d cycles is odd",
                               (int)values[0]);
        return true;
    }
    return false;
}

static void *picky_create(const VschedServices *services,
                          const int64_t *values, char **why)
{
    if (services->topology->vcpus > services->topology->pcpus) {
        *why = g_strdup("there are more VCPUs than PCPUs");
        return NULL;
    }
    return odd(values, why) ? NULL : create(services, values, why);
}

const VschedPolicyOps toy_picky = {
    TOY("toy-picky", picky_create, enqueue, pick),
};

/*
 * ------------------------------------------------------------------------
 * Forbidden.
 */

static void *wrong_create(const VschedServices *services,
                          const int64_t *values, char **why)
{
    Toy *toy = create(services, values, why);

    toy->wrong = values[1];
    toy->wrong_vcpu = values[2];
    return toy;
}

static VschedPick wrong_pick(void *policy, int pcpu, int64_t now)
{
    Toy *toy = policy;
    VschedPick p;

    if (pcpu != 1) {
        return pick(policy, pcpu, now);
    }
    p = (VschedPick) { .vcpu = toy->wrong_vcpu, .timeslice = toy->timeslice };
    if (toy->wrong == WRONG_TIMESLICE) {
        p.timeslice = 0;
    }
    return p;
}

const VschedPolicyOps toy_wrong = {
    TOY("toy-wrong", wrong_create, enqueue, wrong_pick),
};

const VschedPolicyOps *const toy_policies[] = {
    &toy_shared,
    &toy_exact,
    &toy_capped,
    &toy_silent,
    &toy_rude,
    &toy_precise,
    NULL
};
