/*
 * Sampling for a profile: a listener of each PCPU.  See profile.h.
 *
 * A moment is a cycle of simulated time.  When a block comes in which the next
 * moment of its VCPU lies, the listener is asked (VschedListener.due), and the
 * block's search data says which instruction it is that executes at that cycle.
 * No block ends elsewhere because of it, so that a run with a profile is the
 * same as one without.  What was foreseen is counted when the block is over:
 *
 *   ahead      samples of the block that executes.  Those beyond a fault in it
 *              are forgotten, and the same moments are looked at again.
 *   unjudged   samples that were taken in a period of the SDB, or in a watch
 *              of several, that is not over.  Its verdict decides whether the
 *              VCPU was spinning, by the rule that counts spinning cycles.
 *
 * A moment in a stall counts for the instruction that comes after it, as a real
 * processor has it, whose interrupt comes when the instruction is done.
 * Moments of VCPUs that do not run are counted when their state changes.
 *
 * With stacks=, the call stack is looked at where the block begins (stack.h).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vsched/vsched.h"
#include "commands.h"
#include "parameters.h"
#include "engine.h"
#include "stack-target.h"

/* Moments are drawn from the machine's seed, apart from all else that is. */
#define SEED 0x70726f66

/* Cycles of the shortest interval: well above those of a block (choice). */
#define INTERVAL_MIN 1000

typedef struct Sample {
    int64_t at;                 /* position of the instruction */
    VschedProfilePlace place;   /* without spinning, and with a count of 1 */
    VschedJudged judged;
} Sample;

/* Of a PCPU. */
typedef struct Sampler {
    VschedListener listener;
    GArray *ahead;
    GArray *unjudged;
} Sampler;

struct VschedSampling {
    VschedProfile *profile;
    bool running;
    uint64_t rate;              /* samples in a second, as asked for */
    int64_t cost;               /* cycles a sample */
    int stacks;                 /* most callers of a sample; 0: no stacks */
    int64_t end;                /* cycle at which it was stopped */
    Sampler *sampler;           /* of each PCPU */
};

static Sampler *sampler_of(VschedListener *l)
{
    return container_of(l, Sampler, listener);
}

static int64_t next_moment(const VschedProfile *p, int vcpu)
{
    return p->vcpu[vcpu].moment;
}

/*
 * ------------------------------------------------------------------------
 * VCPUs that run.
 */

static void count(VschedSampling *s, const Sample *sample)
{
    VschedProfilePlace place = sample->place;

    place.spinning = sample->judged == VSCHED_SPUN;
    vsched_profile_count(s->profile, place);
}

/* A sample was taken; it is counted when it has been judged. */
static void take(VschedEngine *e, Sampler *sampler, const Sample *sample)
{
    VschedSampling *s = e->sampling;

    vsched_profile_pass(s->profile, sample->place.vcpu);
    if (sample->judged != VSCHED_OPEN) {
        count(s, sample);
    } else {
        g_array_append_vals(sampler->unjudged, sample, 1);
        e->open_samples++;
    }
}

/* Time that passed on this PCPU without instructions was spent spinning. */
static VschedJudged judge_now(VschedEngine *e, int pcpu, int64_t moment)
{
    return moment < e->core->pcpu[pcpu].skip_until ? VSCHED_SPUN :
           e->watch ? VSCHED_OPEN : VSCHED_PROGRESS;
}

/* All instructions before position @at have been executed. */
static void take_ahead(VschedEngine *e, Sampler *sampler, CPUState *cpu,
                       int64_t at)
{
    VschedSampling *s = e->sampling;
    int taken = 0;

    while (taken < sampler->ahead->len &&
           g_array_index(sampler->ahead, Sample, taken).at < at) {
        take(e, sampler, &g_array_index(sampler->ahead, Sample, taken++));
    }
    e->open_samples -= sampler->ahead->len;
    g_array_set_size(sampler->ahead, 0);
    if (taken && s->cost) {
        vsched_stall(cpu, taken * s->cost);
        vsched_profile_wait(s->profile, vsched_vcpu(cpu),
                            VSCHED_PROFILE_PROFILING, vsched_present(e));
    }
}

/* The stack of @cpu at @pc, where a block begins: its number in the profile. */
static uint32_t stack_at(VschedSampling *s, CPUState *cpu, uint64_t pc)
{
    VschedStack stack;

    if (!s->stacks) {
        return 0;
    }
    stack.at = pc;
    vsched_stack_of_target(cpu, pc, cpu->neg.user_mode, s->stacks, &stack);
    return vsched_profile_stack(s->profile, &stack);
}

static void sampling_block(VschedListener *l, CPUState *cpu, int64_t at,
                           unsigned insns, uint64_t pc, int64_t *limit)
{
    VschedEngine *e = vsched_engine;
    VschedProfile *p = e->sampling->profile;
    Sampler *sampler = sampler_of(l);
    int vcpu = vsched_vcpu(cpu);
    int64_t moment, position;
    uint32_t stack = 0;

    take_ahead(e, sampler, cpu, at);
    for (uint64_t n = p->vcpu[vcpu].next; ; n++) {
        moment = vsched_profile_moment(p, vcpu, n);
        position = MAX(at, vsched_exec_position_at(moment));
        if (position >= at + insns) {
            break;
        }
        if (!sampler->ahead->len) {
            stack = stack_at(e->sampling, cpu, pc);
        }
        const Sample sample = {
            .at = position,
            .place.pc = vsched_exec_insn_pc(cpu, position - at),
            .place.vcpu = vcpu,
            .place.user = cpu->neg.user_mode,
            .place.stack = stack,
            .place.count = 1,
            .judged = judge_now(e, l->pcpu, moment),
        };

        g_array_append_val(sampler->ahead, sample);
        e->open_samples++;
    }
    l->due = sampler->ahead->len ? VSCHED_AT_ONCE : moment;
}

static void sampling_stop(VschedListener *l, CPUState *cpu, int64_t at,
                          bool user)
{
    VschedEngine *e = vsched_engine;

    take_ahead(e, sampler_of(l), cpu, at);
    l->due = next_moment(e->sampling->profile, vsched_vcpu(cpu));
}

static const VschedListenerOps sampling_ops = {
    .name = "profile",
    .block = sampling_block,
    .stop = sampling_stop,
};

void vsched_sampling_judge_open(VschedEngine *e, int pcpu, int64_t end,
                                VschedJudged judged)
{
    Sampler *sampler = &e->sampling->sampler[pcpu];
    guint kept = 0;

    for (guint i = 0; i < sampler->ahead->len; i++) {
        Sample *sample = &g_array_index(sampler->ahead, Sample, i);

        if (sample->at < end && sample->judged == VSCHED_OPEN) {
            sample->judged = judged;
        }
    }
    for (guint i = 0; i < sampler->unjudged->len; i++) {
        Sample sample = g_array_index(sampler->unjudged, Sample, i);

        if (sample.at < end) {
            sample.judged = judged;
            count(e->sampling, &sample);
        } else {
            g_array_index(sampler->unjudged, Sample, kept++) = sample;
        }
    }
    e->open_samples -= sampler->unjudged->len - kept;
    g_array_set_size(sampler->unjudged, kept);
}

/*
 * ------------------------------------------------------------------------
 * VCPUs that do not execute: what is not counted before cycle @until.
 */

static VschedProfileWait wait_of(VschedState state)
{
    return state == VSCHED_READY ? VSCHED_PROFILE_READY :
           state == VSCHED_BLOCKED ? VSCHED_PROFILE_BLOCKED :
           VSCHED_PROFILE_SWITCHING;
}

static void count_until(VschedEngine *e, VschedState state, int pcpu,
                        int vcpu, int64_t until)
{
    VschedSampling *s = e->sampling;
    CPUState *cpu = e->cpu[vcpu];
    int64_t moment;

    if (state != VSCHED_RUNNING) {
        vsched_profile_wait(s->profile, vcpu, wait_of(state), until);
        return;
    }
    while ((moment = next_moment(s->profile, vcpu)) < until) {
        uint64_t pc = cpu->cc->get_pc(cpu);
        const Sample sample = {
            .at = e->exec[pcpu].retired,
            .place.pc = pc,
            .place.vcpu = vcpu,
            .place.user = cpu->neg.user_mode,
            .place.stack = stack_at(s, cpu, pc),
            .place.count = 1,
            .judged = judge_now(e, pcpu, moment),
        };

        take(e, &s->sampler[pcpu], &sample);
    }
}

void vsched_sampling_passed(VschedEngine *e, VschedEventKind kind, int pcpu,
                            int vcpu, int64_t now)
{
    VschedState before = e->core->vcpu[vcpu].state;

    if (kind == VSCHED_EVENT_SWITCH) {
        before = VSCHED_READY;
    } else if (kind == VSCHED_EVENT_RUN) {
        before = e->switching == vcpu ? VSCHED_SWITCHING : VSCHED_READY;
    }
    if (!e->stale) {
        count_until(e, before, pcpu, vcpu, now);
    }
}

/*
 * ------------------------------------------------------------------------
 * Begin and end.
 */

void vsched_sampling_free(VschedEngine *e, VschedSampling *s)
{
    if (s) {
        for (int p = 0; p < e->pcpus; p++) {
            g_array_unref(s->sampler[p].ahead);
            g_array_unref(s->sampler[p].unjudged);
        }
        vsched_profile_free(s->profile);
        g_free(s->sampler);
        g_free(s);
    }
}

static VschedSampling *sampling_new(VschedEngine *e, VschedProfile *profile,
                                    uint64_t rate, int64_t cost, int stacks)
{
    VschedSampling *s = g_new0(VschedSampling, 1);

    s->profile = profile;
    s->running = true;
    s->rate = rate;
    s->cost = cost;
    s->stacks = stacks;
    s->sampler = g_new0(Sampler, e->pcpus);
    for (int p = 0; p < e->pcpus; p++) {
        s->sampler[p] = (Sampler) {
            .listener.ops = &sampling_ops,
            .listener.pcpu = p,
            .listener.due = INT64_MAX,
            .ahead = g_array_new(false, false, sizeof(Sample)),
            .unjudged = g_array_new(false, false, sizeof(Sample)),
        };
    }
    return s;
}

/* The listeners of @s, from now on; it is the engine's. */
static void begin_to_listen(VschedEngine *e, VschedSampling *s)
{
    for (int p = 0; p < e->pcpus; p++) {
        int current = e->core->pcpu[p].current;

        if (current != VSCHED_NONE) {
            s->sampler[p].listener.due = next_moment(s->profile, current);
        }
        vsched_exec_set_timed(e, p, &s->sampler[p].listener);
    }
    e->sampled = s->profile->vcpu;
}

static void end_listening(VschedEngine *e, VschedSampling *s)
{
    for (int p = 0; p < e->pcpus; p++) {
        vsched_exec_set_timed(e, p, NULL);
    }
    e->sampled = NULL;
}

static int64_t interval_of(const VschedEngine *e, uint64_t rate)
{
    return (e->clock_hz + rate / 2) / rate;
}

bool vsched_sampling_possible(VschedEngine *e, uint64_t rate, uint64_t cost,
                              uint64_t stacks, Error **errp)
{
    uint64_t most = e->clock_hz / INTERVAL_MIN;

    if (rate < 1 || rate > most) {
        g_autofree char *given = vsched_assignment("rate", rate);

        error_setg(errp, "%s is out of range: allowed are 1 to %" PRIu64
                   " samples of a VCPU in a second", given, most);
        return false;
    }
    if (cost > interval_of(e, rate)) {
        g_autofree char *given = vsched_assignment("cost", cost);

        error_setg(errp, "%s is out of range: allowed are 0 to %" PRId64
                   " cycles, which pass from one sample to the next", given,
                   interval_of(e, rate));
        return false;
    }
    if (stacks > VSCHED_STACK_MAX) {
        g_autofree char *given = vsched_assignment("stacks", stacks);

        error_setg(errp, "%s is out of range: allowed are 0 to %d callers of a "
                   "sample", given, VSCHED_STACK_MAX);
        return false;
    }
    if (stacks && !vsched_stack_of_target) {
        error_setg(errp, "stacks=%" PRIu64 " is impossible, since call stacks "
                   "of %s are not known: allowed is 0", stacks, target_name());
        return false;
    }
    return true;
}

bool vsched_sampling_start(VschedEngine *e, uint64_t rate, uint64_t cost,
                           uint64_t stacks, Error **errp)
{
    VschedCore *core = e->core;
    VschedProfile *profile;

    if (!vsched_sampling_possible(e, rate, cost, stacks, errp)) {
        return false;
    }
    if (e->sampling && e->sampling->running) {
        error_setg(errp, "a profile is being taken already: "
                   "vsched-profile-stop ends it");
        return false;
    }
    vsched_sampling_free(e, e->sampling);
    e->open_samples = 0;
    profile = vsched_profile_new(core->topology.vcpus, core->window_end,
                                 interval_of(e, rate), core->seed ^ SEED);
    e->sampling = sampling_new(e, profile, rate, cost, stacks);
    begin_to_listen(e, e->sampling);
    return true;
}

bool vsched_sampling_stop(VschedEngine *e, Error **errp)
{
    VschedSampling *s = e->sampling;

    if (!s || !s->running) {
        error_setg(errp, "no profile is being taken: vsched-profile-start "
                   "begins one");
        return false;
    }
    s->end = e->core->window_end;
    for (int v = 0; v < s->profile->vcpus; v++) {
        const VschedVCPU *vcpu = &e->core->vcpu[v];
        int64_t until = vcpu->state == VSCHED_RUNNING ?
                        MIN(s->end, e->core->pcpu[vcpu->pcpu].clock) : s->end;

        count_until(e, vcpu->state, vcpu->pcpu, v, until);
    }
    for (int p = 0; p < e->pcpus; p++) {
        vsched_sampling_judge(e, p, INT64_MAX, VSCHED_PROGRESS);
    }
    end_listening(e, s);
    s->running = false;
    return true;
}

/*
 * ------------------------------------------------------------------------
 * What it says.  Nothing here changes a profile that is being taken.
 */

static bool any(const VschedEngine *e, Error **errp)
{
    if (!e->sampling) {
        error_setg(errp, "there is no profile: vsched-profile-start begins "
                   "one");
    }
    return e->sampling;
}

/* Counters of @vcpu as if all were counted that can be by now. */
static VschedProfileVCPU counters(const VschedEngine *e, int vcpu)
{
    const VschedSampling *s = e->sampling;
    VschedProfileVCPU v = s->profile->vcpu[vcpu];
    VschedState state = e->core->vcpu[vcpu].state;

    if (s->running && state != VSCHED_RUNNING) {
        uint64_t n = vsched_profile_moments(s->profile, vcpu,
                                            e->core->window_end);

        if (n > v.next) {
            v.waiting[wait_of(state)] += n - v.next;
        }
    }
    return v;
}

VschedProfileInfo *vsched_sampling_info(VschedEngine *e, Error **errp)
{
    const VschedSampling *s = e->sampling;
    VschedProfileVCPUInfoList **tail;
    VschedProfileInfo *info;

    if (!any(e, errp)) {
        return NULL;
    }
    info = g_new0(VschedProfileInfo, 1);
    info->running = s->running;
    info->rate = s->rate;
    info->interval = s->profile->interval;
    info->cost = s->cost;
    info->stacks = s->stacks;
    info->stackless = s->profile->stackless;
    info->begin = vsched_cycles_to_ns(e, s->profile->begin);
    info->end = vsched_cycles_to_ns(e, s->running ? e->core->window_end
                                                  : s->end);
    info->places = g_hash_table_size(s->profile->places);
    tail = &info->vcpus;
    for (int i = 0; i < s->profile->vcpus; i++) {
        VschedProfileVCPU v = counters(e, i);
        VschedProfileVCPUInfo *vcpu = g_new0(VschedProfileVCPUInfo, 1);

        vcpu->vcpu = i;
        vcpu->user = v.running[true][false];
        vcpu->user_spinning = v.running[true][true];
        vcpu->privileged = v.running[false][false];
        vcpu->privileged_spinning = v.running[false][true];
        vcpu->ready = v.waiting[VSCHED_PROFILE_READY];
        vcpu->blocked = v.waiting[VSCHED_PROFILE_BLOCKED];
        vcpu->switching = v.waiting[VSCHED_PROFILE_SWITCHING];
        vcpu->profiling = v.waiting[VSCHED_PROFILE_PROFILING];
        QAPI_LIST_APPEND(tail, vcpu);
    }
    return info;
}

static void write_vcpus(GString *out, VschedEngine *e)
{
    const VschedProfile *p = e->sampling->profile;

    g_string_append(out, "  \"vcpus\": [");
    for (int i = 0; i < p->vcpus; i++) {
        VschedProfileVCPU v = counters(e, i);

        g_string_append_printf(out, "%s\n    {\"vcpu\": %d, \"vm\": %d, "
            "\"ready\": %" PRIu64 ", \"blocked\": %" PRIu64
            ", \"switching\": %" PRIu64 ", \"profiling\": %" PRIu64 "}",
            i ? "," : "", i, e->core->topology.vm[i],
            v.waiting[VSCHED_PROFILE_READY], v.waiting[VSCHED_PROFILE_BLOCKED],
            v.waiting[VSCHED_PROFILE_SWITCHING],
            v.waiting[VSCHED_PROFILE_PROFILING]);
    }
    g_string_append(out, "\n  ],\n");
}

static const char *const stack_ends[VSCHED_STACK_ENDS] = {
    [VSCHED_STACK_WHOLE] = "whole",
    [VSCHED_STACK_DEEP] = "deep",
    [VSCHED_STACK_UNREADABLE] = "unreadable",
};

static void write_callers(GString *out, const VschedStack *stack)
{
    for (int i = 0; i < stack->callers; i++) {
        g_string_append_printf(out, "%s\"%s%s0x%" PRIx64 "\"", i ? ", " : "",
                               stack->caller[i].kind & VSCHED_CALLER_USER
                               ? "user " : "",
                               stack->caller[i].kind & VSCHED_CALLER_LINK
                               ? "link " : "", stack->caller[i].address);
    }
}

/* The stacks of @places, in this order, which become their numbers. */
static void write_stacks(GString *out, const VschedProfile *p, GArray *places)
{
    g_autofree uint32_t *written = g_new0(uint32_t, p->stacks->len + 1);
    uint32_t n = 0;

    g_string_append(out, "  \"stacks\": [");
    for (guint i = 0; i < places->len; i++) {
        VschedProfilePlace *place =
            &g_array_index(places, VschedProfilePlace, i);
        VschedStack stack;

        if (place->stack && !written[place->stack]) {
            vsched_profile_find_stack(p, place->stack, &stack);
            g_string_append_printf(out, "%s\n    {\"at\": \"0x%" PRIx64
                                   "\", \"end\": \"%s\", \"callers\": [",
                                   n ? "," : "", stack.at,
                                   stack_ends[stack.end]);
            write_callers(out, &stack);
            g_string_append(out, "]}");
            written[place->stack] = ++n;
        }
        place->stack = written[place->stack];
    }
    g_string_append(out, "\n  ],\n");
}

static void write_places(GString *out, const VschedSampling *s)
{
    g_autoptr(GArray) places = vsched_profile_places(s->profile);

    if (s->stacks) {
        write_stacks(out, s->profile, places);
    }
    g_string_append(out, "  \"samples\": [");
    for (guint i = 0; i < places->len; i++) {
        const VschedProfilePlace *place =
            &g_array_index(places, VschedProfilePlace, i);

        g_string_append_printf(out, "%s\n    [%d, \"%s\", %s, \"0x%" PRIx64
                               "\", %" PRIu64, i ? "," : "", place->vcpu,
                               place->user ? "user" : "privileged",
                               place->spinning ? "true" : "false", place->pc,
                               place->count);
        if (place->stack) {
            g_string_append_printf(out, ", %" PRIu32, place->stack - 1);
        }
        g_string_append(out, "]");
    }
    g_string_append(out, "\n  ]\n}\n");
}

bool vsched_sampling_write(VschedEngine *e, const char *name, Error **errp)
{
    const VschedSampling *s = e->sampling;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) fault = NULL;

    if (!any(e, errp) || !vsched_commands_can_write(name, errp)) {
        return false;
    }
    g_string_append_printf(out, "{\n"
        "  \"format\": \"cmp8-profile\",\n  \"version\": 2,\n"
        "  \"clock-hz\": %" PRIu64 ",\n"
        "  \"rate\": %" PRIu64 ",\n  \"interval\": %" PRId64 ",\n"
        "  \"cost\": %" PRId64 ",\n  \"begin\": %" PRId64 ",\n"
        "  \"end\": %" PRId64 ",\n  \"spins-seen\": %s,\n"
        "  \"stacks-of\": %d,\n  \"stackless\": %" PRIu64 ",\n",
        e->clock_hz, s->rate, s->profile->interval, s->cost,
        vsched_cycles_to_ns(e, s->profile->begin),
        vsched_cycles_to_ns(e, s->running ? e->core->window_end : s->end),
        e->watch ? "true" : "false", s->stacks, s->profile->stackless);
    write_vcpus(out, e);
    write_places(out, s);
    if (!g_file_set_contents(name, out->str, out->len, &fault)) {
        error_setg(errp, "'%s' cannot be written: %s", name, fault->message);
        return false;
    }
    return true;
}

/*
 * ------------------------------------------------------------------------
 * Saved states: a head, the samples that are not judged, the profile.
 */

#define HEAD_WORDS 6
#define SAMPLE_WORDS 5

/* With so many, something is wrong: they are judged after some periods. */
#define UNJUDGED_MAX 100000

static void add(GArray *words, int64_t word)
{
    g_array_append_val(words, word);
}

int64_t *vsched_sampling_save(VschedEngine *e, uint32_t *n)
{
    const VschedSampling *s = e->sampling;
    GArray *words;
    int unjudged = 0;

    *n = 0;
    if (!s) {
        return NULL;
    }
    words = g_array_new(false, false, sizeof(int64_t));
    for (int p = 0; p < e->pcpus; p++) {
        unjudged += s->sampler[p].unjudged->len;
    }
    add(words, s->running);
    add(words, s->rate);
    add(words, s->cost);
    add(words, s->end);
    add(words, s->stacks);
    add(words, unjudged);
    for (int p = 0; p < e->pcpus; p++) {
        for (guint i = 0; i < s->sampler[p].unjudged->len; i++) {
            const Sample *sample =
                &g_array_index(s->sampler[p].unjudged, Sample, i);

            add(words, p);
            add(words, sample->at);
            add(words, sample->place.vcpu * 2 + sample->place.user);
            add(words, sample->place.pc);
            add(words, sample->place.stack);
        }
    }
    vsched_profile_save(s->profile, words);
    *n = words->len;
    return (int64_t *)g_array_free(words, false);
}

/* Of a PCPU that this machine does not have it was no spin. */
static bool load_unjudged(VschedEngine *e, VschedSampling *s,
                          const int64_t *words)
{
    const Sample sample = {
        .at = words[1],
        .place.vcpu = words[2] / 2,
        .place.user = words[2] & 1,
        .place.pc = words[3],
        .place.stack = words[4],
        .place.count = 1,
        .judged = words[0] < e->pcpus ? VSCHED_OPEN : VSCHED_PROGRESS,
    };

    if (words[0] < 0 || words[0] >= VSCHED_PCPUS_MAX || words[1] < 0 ||
        words[2] < 0 || words[2] / 2 >= s->profile->vcpus ||
        words[4] < 0 || words[4] > s->profile->stacks->len) {
        return false;
    }
    if (sample.judged == VSCHED_OPEN) {
        g_array_append_val(s->sampler[words[0]].unjudged, sample);
    } else {
        count(s, &sample);
    }
    return true;
}

VschedSampling *vsched_sampling_load(VschedEngine *e, const int64_t *words,
                                     uint32_t n, Error **errp)
{
    VschedSampling *s = NULL;
    VschedProfile *profile = NULL;
    size_t used, head;

    if (n > HEAD_WORDS && words[5] >= 0 && words[5] <= UNJUDGED_MAX &&
        n > HEAD_WORDS + words[5] * SAMPLE_WORDS) {
        head = HEAD_WORDS + words[5] * SAMPLE_WORDS;
        profile = vsched_profile_load(words + head, n - head, &used);
    }
    if (!profile || used != n - head ||
        profile->vcpus != e->core->topology.vcpus ||
        !vsched_sampling_possible(e, words[1], words[2], words[4], NULL) ||
        profile->interval != interval_of(e, words[1]) ||
        words[0] < 0 || words[0] > 1 || words[3] < 0) {
        vsched_profile_free(profile);
        error_setg(errp, "its profile is none of this machine");
        return NULL;
    }
    s = sampling_new(e, profile, words[1], words[2], words[4]);
    s->running = words[0];
    s->end = words[3];
    for (int64_t i = 0; i < words[5]; i++) {
        if (!load_unjudged(e, s, words + HEAD_WORDS + i * SAMPLE_WORDS)) {
            vsched_sampling_free(e, s);
            error_setg(errp, "the samples of its profile are none of this "
                       "machine");
            return NULL;
        }
    }
    return s;
}

void vsched_sampling_install(VschedEngine *e, VschedSampling *sampling,
                             bool converted)
{
    if (e->sampling && e->sampling->running) {
        end_listening(e, e->sampling);
    }
    vsched_sampling_free(e, e->sampling);
    e->sampling = sampling;
    e->open_samples = 0;
    for (int p = 0; sampling && p < e->pcpus; p++) {
        e->open_samples += sampling->sampler[p].unjudged->len;
    }
    if (sampling && sampling->running) {
        begin_to_listen(e, sampling);
    }
    for (int p = 0; sampling && p < e->pcpus; p++) {
        if (converted || !e->watch || !sampling->running) {
            vsched_sampling_judge(e, p, INT64_MAX, VSCHED_PROGRESS);
        }
    }
}
