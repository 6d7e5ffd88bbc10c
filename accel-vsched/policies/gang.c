/*
 * Policy "gang": all VCPUs of a VM run at the same time, or none of them does.
 *
 * "Traditional gang scheduling" (Wells et al., PACT 2006, section 6.1): "PCPUs
 * alternate between the two guest VMs, allowing each to run for a given
 * timeslice".  A VCPU that waits for another one of its VM finds it running, as
 * on a machine that is not virtualized.  Ousterhout, "Scheduling techniques for
 * concurrent systems" (ICDCS 1982), whom the paper names for co-scheduling, has
 * the data structure: a matrix with a column for each PCPU and a row for each
 * turn.  A gang is in one row, each VCPU of it in a column of its own; rows
 * take turns, and all PCPUs go from one row to the next at the same boundary.
 *
 * A gang is a VM.  Ours, where the paper has none of it:
 *
 * - A VM with more VCPUs than PCPUs that are on is as many gangs as it needs: a
 *   gang has as many VCPUs, in the order of their numbers, as find different
 *   PCPUs that they may run on; those that do not are of the next gang.  So
 *   affinity masks can make more and smaller gangs, never one that cannot run
 *   at the same time.
 * - A gang joins the first row in which all of it finds free columns, so small
 *   VMs run at the same time.  Each VCPU takes the lowest column that it can.
 * - Weights and caps do not matter: each row has turns of equal length.  A turn
 *   lasts for a timeslice from when all VCPUs have begun to run that were ready
 *   when it came, and ends at the next boundary.
 *
 * "Idle VCPUs of one VM are scheduled even when non-idle VCPUs of another VM
 * could run."  So it is with skip-idle off: in the turn of a row, the PCPU of a
 * VCPU that is idle or blocked is for nobody else.  A row of which everybody is
 * blocked when its turn comes is passed over.
 *
 * With skip-idle on, VCPUs that are blocked or, as far as the detector `idle`
 * can say, idle are skipped, and their PCPUs are offered to gangs of the other
 * rows, in the order in which these have their turns.  "It is not
 * straightforward to allow only some of VM B's VCPUs to execute, since they
 * will be seriously affected by kernel synchronization unless all non-idle
 * VCPUs of VM B can be co-scheduled": a gang accepts only if all of its VCPUs
 * that are not skipped find a PCPU.  This is looked at again at each boundary
 * as long as somebody waits for another turn:
 *
 * - A VCPU that wakes, or that an interrupt waits for, is not skipped any more.
 *   If it is of the row whose turn it is, it has its PCPU back, and the gang
 *   that was there stops, all of it; if it is of another gang, this gang stops
 *   unless there is a PCPU for it too.
 * - An idle VCPU may wait for a store that nobody reports.  So it is skipped
 *   only when it has run for one window since its row's turn began (choice).
 * - A VCPU that runs as one of another row does not change its PCPU: if that is
 *   taken, its gang stops, and may run elsewhere from the next boundary on.
 *
 * Guarantee: of a gang, either all VCPUs run that are not blocked (nor idle,
 * with skip-idle on), or none but idle ones.  A VCPU that wakes joins after one
 * window at the latest.  One that has to go to another PCPU because of masks,
 * and a PCPU that a stall carries beyond the boundary, are late by that.
 *
 * Longest wait, with R rows, timeslices of S cycles, a switch cost of C and
 * windows of W: (R - 1) * (S + 2 * C + W) + 2 * C + 2 * W.  The last VCPU of a
 * turn begins to run after its own switch and one that its PCPU may have been
 * in when the turn came; the turn ends at the first boundary that is S later.
 * Of the two windows in the end, one is for a VCPU that becomes ready in the
 * middle of one, the other for its PCPU, which may be behind.  With skip-idle
 * on, an idle VCPU that is skipped in its own turn waits for one turn more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../policy.h"

static const VschedParameter gang_parameters[] = {
    {
        .name = "slice",
        .description = "length of a turn",
        .unit = VSCHED_TIME,
        .minimum = 10 * 1000,           /* 10 us */
        .maximum = 1000 * 1000 * 1000,  /* 1 s */
        .value = 100 * 1000,            /* 100 us; the paper: 1, 10 ms too */
    },
    {
        .name = "skip-idle",
        .description = "PCPUs of VCPUs that are idle are for other gangs",
        .unit = VSCHED_SWITCH,
        .minimum = 0,
        .maximum = 1,
        .value = 0,
    },
    {
        .name = "idle",
        .description = "who is idle, for skip-idle",
        .unit = VSCHED_CHOICE,
        .minimum = 0,
        .maximum = VSCHED_IDLE_NONE,
        .value = VSCHED_IDLE_AUTO,
        .choices = vsched_idle_choices,
    },
    { }
};

#define NOT_BEGUN (-1)
#define GIVEN_AWAY (-2)         /* the next one begins at the next boundary */
#define AWAITED INT64_MAX       /* it was ready when the turn came */

/* No clock gets there in a life time. */
#define LATEST (INT64_C(1) << 60)

typedef struct Gang {
    const VschedServices *services;
    const VschedTopology *topology;
    int64_t timeslice;          /* cycles */
    bool skip_idle;
    VschedIdle idle;
    /* the matrix */
    int gangs, rows;
    int *gang;                  /* of each VCPU */
    int *column;                /* of each VCPU: its PCPU in its row */
    int *row;                   /* of each gang */
    /* whose turn it is */
    int turn;                   /* a row */
    int64_t begun;              /* cycle at which the last of it started */
    int64_t ticked;             /* cycle of the last tick */
    bool settled;               /* somebody has been first to wait */
    /* of each VCPU */
    bool *waits;
    int *runs_on;               /* PCPU, or VSCHED_NONE */
    int *seat;                  /* PCPU that it has now, or VSCHED_NONE */
    int64_t *started;           /* cycle, in this turn; or AWAITED */
    /* of each PCPU */
    int *runs;                  /* VCPU, or VSCHED_NONE */
    int *seated;                /* VCPU that has it now, or VSCHED_NONE */
} Gang;

/*
 * ------------------------------------------------------------------------
 * Seats: who has which PCPU.
 */

static void sit(Gang *g, int vcpu, int pcpu)
{
    g->seat[vcpu] = pcpu;
    g->seated[pcpu] = vcpu;
}

static void stand_up(Gang *g, int vcpu)
{
    if (g->seat[vcpu] != VSCHED_NONE) {
        g->seated[g->seat[vcpu]] = VSCHED_NONE;
        g->seat[vcpu] = VSCHED_NONE;
    }
}

static void all_stand_up(Gang *g)
{
    for (int v = 0; v < g->topology->vcpus; v++) {
        stand_up(g, v);
    }
}

static uint64_t free_pcpus(const Gang *g)
{
    uint64_t mask = g->topology->online;

    for (int p = 0; p < g->topology->pcpus; p++) {
        if (g->seated[p] != VSCHED_NONE) {
            mask &= ~(1ull << p);
        }
    }
    return mask;
}

/* Who looks for seats, and where. */
typedef struct Search {
    uint64_t among;             /* PCPUs that it may take, from its own too */
    uint64_t rather_not;        /* of these: to be taken last */
    bool may_move;              /* one that runs may change its PCPU */
    uint64_t tried;
} Search;

/*
 * @vcpu, which has none, gets a PCPU: the lowest that is free, or else one that
 * somebody has who can have another one (an augmenting path of a matching).
 */
static bool find_seat(Gang *g, int vcpu, Search *s)
{
    uint64_t may = g->topology->allowed[vcpu] & s->among;
    uint64_t empty = may & free_pcpus(g);

    if (empty) {
        empty = empty & ~s->rather_not ?: empty;
        sit(g, vcpu, __builtin_ctzll(empty));
        return true;
    }
    for (may &= ~s->tried; may; may &= ~s->tried) {
        int p = __builtin_ctzll(may), other = g->seated[p];

        s->tried |= 1ull << p;
        if ((s->may_move || g->runs_on[other] != p) &&
            find_seat(g, other, s)) {
            sit(g, vcpu, p);
            return true;
        }
    }
    return false;
}

/*
 * The @n VCPUs of the list get free PCPUs, all of them or none: those where
 * they run, those of their columns, any.
 */
static bool seat_all(Gang *g, const int *vcpu, int n, Search s)
{
    bool ok = true;

    s.among &= free_pcpus(g);
    for (int i = 0; i < n; i++) {
        int p = g->runs_on[vcpu[i]];

        if (p == VSCHED_NONE) {
            continue;
        }
        if (s.among & g->topology->allowed[vcpu[i]] & 1ull << p) {
            sit(g, vcpu[i], p);
        } else {
            ok &= s.may_move;
        }
    }
    for (int i = 0; i < n && ok; i++) {
        int v = vcpu[i], p = g->column[v];

        if (g->seat[v] == VSCHED_NONE && g->seated[p] == VSCHED_NONE &&
            s.among & ~s.rather_not & 1ull << p) {
            sit(g, v, p);
        }
    }
    for (int i = 0; i < n && ok; i++) {
        s.tried = 0;
        ok = g->seat[vcpu[i]] != VSCHED_NONE || find_seat(g, vcpu[i], &s);
    }
    for (int i = 0; i < n && !ok; i++) {
        stand_up(g, vcpu[i]);
    }
    return ok;
}

/*
 * ------------------------------------------------------------------------
 * The matrix.
 */

/* Gang @k, which is new, has those of the list that find PCPUs together. */
static int make_gang(Gang *g, int k, int *vcpu, int n)
{
    int left = 0;

    all_stand_up(g);
    for (int i = 0; i < n; i++) {
        Search s = { .among = g->topology->online, .may_move = true };

        if (find_seat(g, vcpu[i], &s)) {
            g->gang[vcpu[i]] = k;
        } else {
            vcpu[left++] = vcpu[i];
        }
    }
    return left;
}

/* Whether gang @k can be in a row of which the PCPUs of @taken are taken. */
static bool fits(Gang *g, int k, uint64_t taken)
{
    bool ok = true;

    all_stand_up(g);
    for (int v = 0; v < g->topology->vcpus && ok; v++) {
        Search s = { .among = g->topology->online & ~taken, .may_move = true };

        ok = g->gang[v] != k || find_seat(g, v, &s);
    }
    return ok;
}

/* Gang @k joins the first row that it fits into; @taken: of each row. */
static void join_row(Gang *g, int k, uint64_t *taken)
{
    int r = 0;

    while (!fits(g, k, taken[r])) {
        r++;
    }
    g->row[k] = r;
    g->rows = MAX(g->rows, r + 1);
    for (int v = 0; v < g->topology->vcpus; v++) {
        if (g->gang[v] == k) {
            g->column[v] = g->seat[v];
            taken[r] |= 1ull << g->seat[v];
        }
    }
}

static void make_matrix(Gang *g)
{
    int vcpus = g->topology->vcpus;
    g_autofree uint64_t *taken = g_new0(uint64_t, vcpus);
    g_autofree int *list = g_new(int, vcpus);

    g->gangs = g->rows = 0;
    for (int v = 0; v < vcpus; v++) {
        g->gang[v] = VSCHED_NONE;
    }
    for (int vm = 0; vm < g->topology->vms; vm++) {
        int n = 0;

        for (int v = 0; v < vcpus; v++) {
            if (g->topology->vm[v] == vm) {
                list[n++] = v;
            }
        }
        while (n) {
            n = make_gang(g, g->gangs, list, n);
            join_row(g, g->gangs++, taken);
        }
    }
    all_stand_up(g);
}

static int row_of(const Gang *g, int vcpu)
{
    return g->row[g->gang[vcpu]];
}

/*
 * ------------------------------------------------------------------------
 * Turns.
 */

static bool is_active(const Gang *g, int vcpu)
{
    return g->waits[vcpu] || g->runs_on[vcpu] != VSCHED_NONE;
}

static bool is_of_turn(const Gang *g, int vcpu)
{
    return row_of(g, vcpu) == g->turn;
}

/* @vcpu has a PCPU whenever its gang runs. */
static bool is_wanted(const Gang *g, int vcpu)
{
    const VschedServices *services = g->services;

    if (!g->skip_idle) {
        return true;
    }
    if (is_active(g, vcpu) &&
        ((is_of_turn(g, vcpu) && g->started[vcpu] > g->ticked) ||
         services->interrupt_pending(services->engine, vcpu))) {
        return true;
    }
    return !services->idle(services->engine, vcpu, g->idle);
}

/* Those of gang @k that are wanted; returns how many, 0 if all are blocked. */
static int list_wanted(const Gang *g, int k, int *list)
{
    bool active = false;
    int n = 0;

    for (int v = 0; v < g->topology->vcpus; v++) {
        if (g->gang[v] == k && is_wanted(g, v)) {
            list[n++] = v;
            active |= is_active(g, v);
        }
    }
    return active ? n : 0;
}

/* Gangs of other rows run where the row whose turn it is leaves PCPUs. */
static void seat_others(Gang *g, int *list)
{
    Search s = { .among = g->topology->online };

    for (int p = 0; p < g->topology->pcpus; p++) {
        if (g->runs[p] != VSCHED_NONE && is_wanted(g, g->runs[p])) {
            s.rather_not |= 1ull << p;
        }
    }
    for (int i = 1; i < g->rows; i++) {
        for (int k = 0; k < g->gangs; k++) {
            if (g->row[k] == (g->turn + i) % g->rows) {
                seat_all(g, list, list_wanted(g, k, list), s);
            }
        }
    }
}

/* Each PCPU has a VCPU, or none, from the next boundary on, which is now. */
static void seat_everybody(Gang *g)
{
    const VschedTopology *topology = g->topology;
    const Search any = { .among = topology->online, .may_move = true };
    g_autofree int *list = g_new(int, topology->vcpus);
    int n = 0;

    all_stand_up(g);
    for (int v = 0; v < topology->vcpus; v++) {
        if (is_of_turn(g, v) && is_wanted(g, v)) {
            list[n++] = v;
        }
    }
    seat_all(g, list, n, any);
    if (g->skip_idle) {
        seat_others(g, list);
    }
    /* Where nobody else can run, those have their PCPUs who are skipped. */
    for (int v = 0; v < topology->vcpus; v++) {
        if (is_of_turn(g, v) && g->seat[v] == VSCHED_NONE) {
            seat_all(g, &v, 1, any);
        }
    }
    for (int p = 0; p < topology->pcpus; p++) {
        if (g->runs[p] != VSCHED_NONE && g->runs[p] != g->seated[p]) {
            g->services->preempt(g->services->engine, p);
        }
    }
}

/* The next row of which somebody is not blocked. */
static void next_turn(Gang *g, int64_t now)
{
    int distance = g->rows;

    for (int v = 0; v < g->topology->vcpus; v++) {
        if (is_active(g, v)) {
            int d = (row_of(g, v) - g->turn - 1 + g->rows) % g->rows + 1;

            distance = MIN(distance, d);
        }
    }
    g->turn = (g->turn + distance) % g->rows;
    g->begun = now;
    for (int v = 0; v < g->topology->vcpus; v++) {
        g->started[v] = is_active(g, v) ? AWAITED : now;
    }
}

/* @vcpu runs, in this turn. */
static void has_started(Gang *g, int vcpu, int64_t now)
{
    if (g->started[vcpu] == AWAITED) {
        g->started[vcpu] = now;
        if (is_of_turn(g, vcpu) && g->begun != GIVEN_AWAY) {
            g->begun = MAX(g->begun, now);
        }
    }
}

/* Somebody waits who has no PCPU now. */
static bool anyone_held_back(const Gang *g)
{
    for (int v = 0; v < g->topology->vcpus; v++) {
        if (g->waits[v] && g->seat[v] == VSCHED_NONE) {
            return true;
        }
    }
    return false;
}

static bool turn_is_over(const Gang *g, int64_t now)
{
    if (g->begun == GIVEN_AWAY) {
        return true;
    }
    for (int v = 0; v < g->topology->vcpus; v++) {
        if (g->started[v] == AWAITED && is_of_turn(g, v) &&
            g->seat[v] != VSCHED_NONE && is_active(g, v)) {
            return false;
        }
    }
    return g->begun == NOT_BEGUN || now >= g->begun + g->timeslice;
}

static int64_t gang_next_tick(void *policy)
{
    Gang *g = policy;

    if (g->begun == GIVEN_AWAY) {
        return 0;
    }
    if (!anyone_held_back(g)) {
        return INT64_MAX;
    }
    return g->skip_idle || g->begun == NOT_BEGUN ? 0 :
           g->begun + g->timeslice;
}

static void gang_tick(void *policy, int64_t now)
{
    Gang *g = policy;

    if (turn_is_over(g, now)) {
        next_turn(g, now);
    }
    seat_everybody(g);
    for (int v = 0; v < g->topology->vcpus; v++) {
        if (g->seat[v] != VSCHED_NONE && g->seat[v] == g->runs_on[v]) {
            has_started(g, v, now);     /* it ran before, and goes on */
        }
    }
    g->ticked = now;
}

/*
 * The tick ends a turn, for all PCPUs at one boundary: timeslices are longer
 * than what is left of the turn, by another turn.
 */
static int64_t timeslice_from(Gang *g, int64_t now)
{
    if (g->begun == NOT_BEGUN) {
        g->begun = now;
    }
    return g->timeslice + MAX(0, g->begun + g->timeslice - now);
}

/*
 * ------------------------------------------------------------------------
 * Operations.
 */

static void *gang_create(const VschedServices *services, const int64_t *values,
                         char **why)
{
    const VschedTopology *topology = services->topology;
    int vcpus = topology->vcpus, pcpus = topology->pcpus;
    Gang *g = g_new0(Gang, 1);

    g->services = services;
    g->topology = topology;
    g->timeslice = values[0];
    g->skip_idle = values[1];
    g->idle = values[2];
    g->begun = NOT_BEGUN;
    g->gang = g_new(int, vcpus);
    g->column = g_new(int, vcpus);
    g->row = g_new(int, vcpus);
    g->waits = g_new0(bool, vcpus);
    g->runs_on = g_new(int, vcpus);
    g->seat = g_new(int, vcpus);
    g->started = g_new0(int64_t, vcpus);
    g->runs = g_new(int, pcpus);
    g->seated = g_new(int, pcpus);
    for (int v = 0; v < vcpus; v++) {
        g->runs_on[v] = g->seat[v] = VSCHED_NONE;
    }
    for (int p = 0; p < pcpus; p++) {
        g->runs[p] = g->seated[p] = VSCHED_NONE;
    }
    make_matrix(g);
    seat_everybody(g);
    return g;
}

static void gang_destroy(void *policy)
{
    Gang *g = policy;

    g_free(g->gang);
    g_free(g->column);
    g_free(g->row);
    g_free(g->waits);
    g_free(g->runs_on);
    g_free(g->seat);
    g_free(g->started);
    g_free(g->runs);
    g_free(g->seated);
    g_free(g);
}

static bool gang_set(void *policy, const int64_t *values, char **why)
{
    Gang *g = policy;

    g->timeslice = values[0];
    g->skip_idle = values[1];
    g->idle = values[2];
    seat_everybody(g);
    return true;
}

static int gang_place(void *policy, int vcpu)
{
    Gang *g = policy;

    return g->seat[vcpu];
}

static void gang_enqueue(void *policy, int vcpu, VschedWhy why, int64_t since,
                         int64_t now)
{
    Gang *g = policy;

    g->waits[vcpu] = true;
    /* From the next boundary on it is the turn of who has waited longest. */
    if (!g->settled && why == VSCHED_ADDED && row_of(g, vcpu) != g->turn) {
        g->turn = (row_of(g, vcpu) + g->rows - 1) % g->rows;
        g->begun = GIVEN_AWAY;
    }
    g->settled = true;
    if (g->begun == NOT_BEGUN) {
        g->started[vcpu] = AWAITED;
    }
}

static void gang_dequeue(void *policy, int vcpu, int64_t now)
{
    Gang *g = policy;

    g->waits[vcpu] = false;
    g->started[vcpu] = MIN(g->started[vcpu], now);
}

static bool gang_waiting(void *policy, int pcpu, int64_t now)
{
    Gang *g = policy;

    return g->seated[pcpu] != VSCHED_NONE && g->waits[g->seated[pcpu]];
}

static VschedPick gang_pick(void *policy, int pcpu, int64_t now)
{
    Gang *g = policy;
    VschedPick pick = { .vcpu = VSCHED_NONE, .exact = true };

    if (gang_waiting(g, pcpu, now)) {
        pick.vcpu = g->seated[pcpu];
        pick.timeslice = timeslice_from(g, now);
        g->waits[pick.vcpu] = false;
        g->runs_on[pick.vcpu] = pcpu;
        g->runs[pcpu] = pick.vcpu;
    }
    return pick;
}

static VschedPick gang_take_over(void *policy, int pcpu, int vcpu,
                                 int64_t used, int64_t now)
{
    Gang *g = policy;

    g->runs_on[vcpu] = pcpu;
    g->runs[pcpu] = vcpu;
    return (VschedPick) {
        .vcpu = vcpu,
        .timeslice = g->seat[vcpu] == pcpu ? used + timeslice_from(g, now) : 0,
        .exact = true,
    };
}

static void gang_start(void *policy, int pcpu, int vcpu, int64_t now)
{
    Gang *g = policy;

    has_started(g, vcpu, now);
}

static void gang_stop(void *policy, int pcpu, int vcpu, int64_t ran,
                      VschedWhy why, int64_t now)
{
    Gang *g = policy;

    g->runs_on[vcpu] = g->runs[pcpu] = VSCHED_NONE;
}

static void gang_changed(void *policy, int64_t now)
{
    Gang *g = policy;

    make_matrix(g);
    g->turn = MIN(g->turn, g->rows - 1);
    seat_everybody(g);
}

/* The turn, when it began, the last tick; seats and starts of all VCPUs. */
static void gang_save(void *policy, GArray *words)
{
    Gang *g = policy;
    int64_t word = g->turn;

    g_array_append_val(words, word);
    g_array_append_val(words, g->begun);
    g_array_append_val(words, g->ticked);
    for (int v = 0; v < g->topology->vcpus; v++) {
        word = g->seat[v];
        g_array_append_val(words, word);
    }
    g_array_append_vals(words, g->started, g->topology->vcpus);
}

/*
 * @vcpu may be the one that has @pcpu.  When a turn was given away, and the
 * next has not begun, the seats are those of another row, of the first maybe.
 */
static bool seat_possible(const Gang *g, int vcpu, int64_t pcpu)
{
    return pcpu == VSCHED_NONE ||
           (pcpu >= 0 && pcpu < g->topology->pcpus &&
            g->topology->allowed[vcpu] >> pcpu & 1 &&
            g->seated[pcpu] == VSCHED_NONE &&
            (g->skip_idle || g->begun == GIVEN_AWAY ||
             row_of(g, vcpu) == g->turn));
}

static bool gang_load(void *policy, const int64_t *words, int n)
{
    Gang *g = policy;
    int vcpus = g->topology->vcpus;

    if (n != 3 + 2 * vcpus || words[0] < 0 || words[0] >= g->rows ||
        words[1] < GIVEN_AWAY || words[1] > LATEST ||
        words[2] < 0 || words[2] > LATEST) {
        return false;
    }
    g->turn = words[0];
    g->begun = words[1];
    g->ticked = words[2];
    g->settled = true;
    words += 3;
    all_stand_up(g);
    for (int v = 0; v < vcpus; v++) {
        if (!seat_possible(g, v, words[v]) || words[vcpus + v] < 0) {
            return false;
        }
        if (words[v] != VSCHED_NONE) {
            sit(g, v, words[v]);
        }
        g->started[v] = words[vcpus + v];
    }
    return true;
}

static int64_t gang_longest_wait(void *policy, int64_t switch_cost,
                                 int64_t window)
{
    Gang *g = policy;

    int64_t turn = g->timeslice + 2 * switch_cost + window;

    return (g->rows - !g->skip_idle) * turn + 2 * switch_cost + 2 * window;
}

const VschedPolicyOps vsched_policy_gang = {
    .name = "gang",
    .description = "all VCPUs of a VM at the same time; VMs take turns",
    .parameters = gang_parameters,
    .create = gang_create,
    .destroy = gang_destroy,
    .set = gang_set,
    .place = gang_place,
    .enqueue = gang_enqueue,
    .dequeue = gang_dequeue,
    .pick = gang_pick,
    .waiting = gang_waiting,
    .take_over = gang_take_over,
    .start = gang_start,
    .stop = gang_stop,
    .next_tick = gang_next_tick,
    .tick = gang_tick,
    .changed = gang_changed,
    .save = gang_save,
    .load = gang_load,
    .longest_wait = gang_longest_wait,
};
