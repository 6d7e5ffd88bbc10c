/*
 * Groups of VCPUs that share nothing, each with work of its own, until a time is
 * up: what two servers do on one machine, each in a VM of its own (Wells,
 * Chakraborty, Sohi, PACT 2006, section 6).  What each VCPU has done by then is
 * what there is to compare.
 *   groups=2 (of equal size, in the order of VCPUs)   time=5000000 (ticks)
 *   first=1 (work of the first group)   others=first (work of all other groups)
 *   active=0 (how many VCPUs of a group work, the others idle; 0: all)
 *   turns=200 (of a loop in a piece of work)
 *   words=20000 (of each of the three arrays of work 4)   other_words=words (of
 *   those of all other groups)
 * Work, and what is counted of it:
 *   0 computes: turns of the loop     1 an MCS lock, held for turns and then not
 *   2 a barrier after each turns      for as long: how often a VCPU had it
 *   3 under a lock, two cross-calls to each other VCPU of the group, and turns
 *   4 streams through memory: how often through its arrays
 * A VCPU that idles polls a word in privileged mode.
 * Checked: nobody was inside a lock or ahead of a barrier with another one, every
 * cross-call has come, arrays are what they should be.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

const char program_name[] = "groups";

enum { COMPUTE, LOCK, BARRIER, CROSSCALL, STREAM, KINDS };

typedef struct Node {
    struct Node *volatile next;
    volatile uint64_t locked;
} __attribute__((aligned(64))) Node;

/* What a group shares; 256 bytes apart from those of the others */
static struct group {
    Node *tail __attribute__((aligned(256)));
    volatile uint64_t owner __attribute__((aligned(64)));
    volatile uint64_t missing __attribute__((aligned(64)));
    volatile uint64_t sense __attribute__((aligned(64)));
    volatile bool over;
    unsigned int first, work;
    uint64_t words;
} group[MAX_VCPUS];

static Node nodes[MAX_VCPUS];
static volatile uint64_t phase[MAX_VCPUS];
static uint64_t sent[MAX_VCPUS];                /* cross-calls to each of the others */
static uint64_t *array[MAX_VCPUS];
static uint64_t groups, size, active, turns, end, duration;
static volatile uint64_t begun, working;
static volatile uint8_t seen;                   /* that the time is up */

static bool time_is_up(void)
{
    if (tick() < end) {
        return false;
    }
    if (!__atomic_exchange_n(&seen, 0xff, __ATOMIC_ACQ_REL)) {
        mark_end(true);         /* what was counted until now is of the work alone */
    }
    return true;
}

static void lock(struct vcpu *me, struct group *mine)
{
    Node *node = &nodes[me->index], *before;
    uint64_t polls = 0;

    node->next = NULL;
    before = __atomic_exchange_n(&mine->tail, node, __ATOMIC_ACQ_REL);
    if (before) {
        node->locked = true;
        before->next = node;
        while (node->locked) {
            polls++;
        }
        me->polls += polls;
    }
    barrier();
    me->value += mine->owner != MAX_VCPUS;
    mine->owner = me->index;
}

static void unlock(struct vcpu *me, struct group *mine)
{
    Node *node = &nodes[me->index], *expected = node;

    me->value += mine->owner != me->index;
    mine->owner = MAX_VCPUS;
    barrier();
    if (!node->next) {
        if (__atomic_compare_exchange_n(&mine->tail, &expected, NULL, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            return;
        }
        while (!node->next) {
        }
    }
    node->next->locked = false;
}

/* The last to come decides whether the time is up, so that all leave together. */
static bool wait_for_all(struct vcpu *me, struct group *mine, uint64_t sense)
{
    uint64_t polls = 0;

    if (__atomic_sub_fetch(&mine->missing, 1, __ATOMIC_ACQ_REL) == 0) {
        mine->missing = active;
        mine->over = time_is_up();
        barrier();
        mine->sense = sense;
    } else {
        while (mine->sense != sense) {
            polls++;
        }
        me->polls += polls;
    }
    barrier();
    return !mine->over;
}

static void do_barriers(struct vcpu *me, struct group *mine)
{
    uint64_t round = 0;
    bool more;

    do {
        round++;
        labour(turns);
        phase[me->index] = round;
        barrier();
        more = wait_for_all(me, mine, round & 1);
        for (unsigned int i = mine->first; i < mine->first + active; i++) {
            me->value += phase[i] != round && phase[i] != round + 1;
        }
        me->count++;
    } while (more);
}

static void do_crosscalls(struct vcpu *me, struct group *mine)
{
    while (!time_is_up()) {
        lock(me, mine);
        for (unsigned int i = mine->first; i < mine->first + size; i++) {
            if (i != me->index) {
                crosscall(i, crosscall_add, 1, 0);
                crosscall(i, crosscall_add, 1, 0);
            }
        }
        sent[me->index] += 2;
        unlock(me, mine);
        labour(turns);
        me->count++;
    }
}

static void do_stream(struct vcpu *me, const struct group *mine)
{
    uint64_t words = mine->words;
    uint64_t *a = array[me->index], *b = a + words, *c = b + words;

    for (uint64_t i = 0; i < words; i++) {
        b[i] = i;
        c[i] = 2 * i;
    }
    while (!time_is_up()) {
        me->count++;
        for (uint64_t i = 0; i < words; i++) {
            a[i] = b[i] + me->count * c[i];
        }
    }
    for (uint64_t i = 0; me->count && i < words; i++) {
        me->value += a[i] != (1 + 2 * me->count) * i;
    }
}

static void idle(struct vcpu *me)
{
    uint64_t polls = 0;

    while (working) {
        polls++;
    }
    me->polls = polls;
}

static void work(struct vcpu *me)
{
    struct group *mine = &group[me->index / size];

    if (me->index == 0) {
        end = tick() + duration;
        barrier();
        begun = 1;
    }
    while (!begun) {
        barrier();
    }
    barrier();
    if (me->index % size >= active) {
        idle(me);
        return;
    }
    switch (mine->work) {
    case COMPUTE:
        for (; !time_is_up(); me->count += turns) {
            labour(turns);
        }
        break;
    case LOCK:
        for (; !time_is_up(); me->count++) {
            lock(me, mine);
            labour(turns);
            unlock(me, mine);
            labour(turns);
        }
        break;
    case BARRIER:
        do_barriers(me, mine);
        break;
    case CROSSCALL:
        do_crosscalls(me, mine);
        break;
    case STREAM:
        do_stream(me, mine);
        break;
    }
    __atomic_sub_fetch(&working, 1, __ATOMIC_ACQ_REL);
}

/* Every VCPU of a group has taken what the others of it have sent. */
static bool all_have_come(void)
{
    bool ok = true;

    for (unsigned int i = 0; i < vcpus; i++) {
        struct group *mine = &group[i / size];
        uint64_t want = 0;

        for (unsigned int k = mine->first; k < mine->first + size; k++) {
            want += k != i ? sent[k] : 0;
        }
        while (kit_vcpus[i].received < want) {
        }
        ok &= kit_vcpus[i].received == want && kit_vcpus[i].sum == want;
    }
    return ok;
}

bool program(void)
{
    uint64_t first, others, words, other_words, done = 0;
    bool ok;

    needs_privileged_mode();
    groups = parameter("groups", 2, 1, vcpus);
    size = vcpus / groups;
    if (size * groups != vcpus) {
        fail("parameter groups", ": the number of VCPUs has to be a multiple of it");
    }
    duration = parameter("time", 5000000, 1, 1ul << 40);
    first = parameter("first", LOCK, 0, KINDS - 1);
    others = parameter("others", first, 0, KINDS - 1);
    active = parameter("active", 0, 0, size) ?: size;
    turns = parameter("turns", 200, 1, 1ul << 32);
    words = parameter("words", 20000, 1, 1ul << 24);
    other_words = parameter("other_words", words, 1, 1ul << 24);
    if (first == CROSSCALL || others == CROSSCALL) {
        needs_interrupts();
    }
    working = groups * active;
    for (unsigned int k = 0; k < groups; k++) {
        group[k].first = k * size;
        group[k].work = k ? others : first;
        group[k].words = k ? other_words : words;
        group[k].missing = active;
        group[k].owner = MAX_VCPUS;
    }
    for (unsigned int i = 0; i < vcpus; i++) {
        if (group[i / size].work == STREAM) {
            array[i] = allocate(3 * group[i / size].words * sizeof(uint64_t));
        }
    }
    report("cycles", run_on_all(work));
    interrupts(true);           /* the last ones may still be on their way */
    ok = TOTAL(value) == 0 && all_have_come();
    for (unsigned int i = 0; i < size; i++) {
        done += kit_vcpus[i].count;
    }
    report("time", duration);
    report("violations", TOTAL(value));
    report("done", done);
    report("done_by_others", TOTAL(count) - done);
    REPORT_ALL(count);
    REPORT_ALL(nacks);
    REPORT_ALL(polls);
    return ok;
}
