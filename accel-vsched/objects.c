/*
 * VMs, PCPUs and VCPUs as QOM objects: what a user may see and change of each.
 *
 *   /machine/vm[k]             weight, cap, vcpus
 *   /machine/vsched/pcpu[n]    online, speed, vcpu
 *   /machine/vsched/vcpu[n]    affinity, vm, pcpu, state, cpu
 *
 * The truth is in the core (core.h), which checks each change; these objects
 * only have numbers.  The first values come from the command line (vms=,
 * affinity=, offline=, speed=, weights=, caps=), where several are joined by
 * "+", since a comma ends an option:
 *
 *   vms=8+8+8                  three VMs of eight VCPUs
 *   affinity=0-7:0-3+8-15:0xf0 VCPUs 0 to 7 on PCPUs 0 to 3, 8 to 15 on 4 to 7
 *   offline=6-7                PCPUs 6 and 7 are off
 *   speed=4-7:1/2              PCPUs 4 to 7 have half the speed
 *   weights=512+256+256        of each VM
 *   caps=0+150+0               percent of a PCPU, of each VM; 0: none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "qapi/visitor.h"
#include "hw/sdb/range.h"
#include "qom/object_interfaces.h"
#include "engine.h"
#include "given.h"

#define TYPE_VSCHED_VM "vsched-vm"
#define TYPE_VSCHED_PCPU "vsched-pcpu"
#define TYPE_VSCHED_VCPU "vsched-vcpu"

OBJECT_DECLARE_SIMPLE_TYPE(VschedNumber, VSCHED_VM)
DECLARE_INSTANCE_CHECKER(VschedNumber, VSCHED_PCPU, TYPE_VSCHED_PCPU)
DECLARE_INSTANCE_CHECKER(VschedNumber, VSCHED_VCPU, TYPE_VSCHED_VCPU)

/* An object of any of the three types. */
struct VschedNumber {
    Object parent_obj;
    int number;
    CPUState *cpu;              /* of a VCPU; NULL: it is not plugged */
};

static int number_of(Object *obj)
{
    return ((VschedNumber *)obj)->number;
}

static VschedCore *core(void)
{
    return vsched_engine->core;
}

/*
 * A live change.  If the core refused it, its reason becomes an error; else
 * what the command line said in @option no longer holds.
 */
static void check(bool done, const char *option, char *why, Error **errp)
{
    if (done) {
        vsched_given_forget(option);
    } else {
        error_setg(errp, "%s", why);
    }
    g_free(why);
}

/*
 * ------------------------------------------------------------------------
 * Lists of numbers, as masks.
 */

static void visit_mask(Visitor *v, const char *name, uint64_t *mask,
                       Error **errp)
{
    uint16List *list = NULL, **tail = &list;

    for (int i = 0; i < VSCHED_PCPUS_MAX; i++) {
        if (*mask >> i & 1) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
    visit_type_uint16List(v, name, &list, errp);
    qapi_free_uint16List(list);
}

static bool read_mask(Visitor *v, const char *name, uint64_t *mask,
                      Error **errp)
{
    uint16List *list = NULL;
    g_autofree char *text = NULL;
    bool ok = true;

    /* The visitor of texts takes 0x3 for the number 3 and 010 for 8. */
    if (visit_type_str(v, name, &text, NULL) &&
        g_regex_match_simple("(^|[,-])0[0-9xX]", text, 0, 0)) {
        error_setg(errp, "%s=%s is no list of PCPUs: allowed are decimal "
                   "numbers and ranges from 0 to %d, joined by commas, such as "
                   "0-3,5", name, text, core()->topology.pcpus - 1);
        return false;
    }
    /* A visitor would say that parameter 'null' expects something. */
    if (!visit_type_uint16List(v, name, &list, NULL)) {
        error_setg(errp, "%s is a list of PCPUs: allowed are 0 to %d", name,
                   core()->topology.pcpus - 1);
        return false;
    }
    *mask = 0;
    for (uint16List *l = list; l; l = l->next) {
        if (l->value >= core()->topology.pcpus) {
            error_setg(errp, "%s: there is no PCPU %u: allowed are 0 to %d",
                       name, l->value, core()->topology.pcpus - 1);
            ok = false;
            break;
        }
        *mask |= UINT64_C(1) << l->value;
    }
    qapi_free_uint16List(list);
    return ok;
}

/*
 * ------------------------------------------------------------------------
 * VMs.
 */

static void vm_get_share(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    VschedShare *share = &core()->topology.share[number_of(obj)];

    visit_type_uint32(v, name, opaque ? &share->cap : &share->weight, errp);
}

static void refuse_share(const char *name, const char *value, const char *is,
                         bool cap, Error **errp)
{
    g_autofree char *fault = range_fault_number(
        name, value, is, cap ? 0 : 1,
        cap ? 100 * core()->topology.pcpus : VSCHED_WEIGHT_MAX);

    error_setg(errp, "%s", fault);
}

static void vm_set_share(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    VschedShare share = core()->topology.share[number_of(obj)];
    g_autofree char *text = NULL;
    char *why = NULL;
    int64_t value;
    bool done;

    if (!vsched_between_windows(vsched_engine, errp)) {
        return;
    }
    if (!visit_type_int64(v, name, &value, NULL)) {
        visit_type_str(v, name, &text, NULL);
        refuse_share(name, text, RANGE_NO_NUMBER, opaque, errp);
        return;
    }
    if (value < 0 || value > UINT32_MAX) {
        g_free(text);
        text = g_strdup_printf("%" PRId64, value);
        refuse_share(name, text, RANGE_OUT, opaque, errp);
        return;
    }
    *(opaque ? &share.cap : &share.weight) = value;
    done = vsched_core_set_share(core(), number_of(obj), share, &why);
    check(done, opaque ? "caps" : "weights", why, errp);
}

static void vm_get_vcpus(Object *obj, Visitor *v, const char *name,
                         void *opaque, Error **errp)
{
    uint16List *list = NULL, **tail = &list;

    for (int i = 0; i < core()->topology.vcpus; i++) {
        if (core()->topology.vm[i] == number_of(obj)) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
    visit_type_uint16List(v, name, &list, errp);
    qapi_free_uint16List(list);
}

static void vm_class_init(ObjectClass *oc, void *data)
{
    object_class_property_add(oc, "weight", "uint32", vm_get_share,
                              vm_set_share, NULL, NULL);
    object_class_property_set_description(oc, "weight",
        "what the VM gets in proportion to others, under policies that know"
        " weights; 1 to " stringify(VSCHED_WEIGHT_MAX) ", default "
        stringify(VSCHED_WEIGHT_DEFAULT));
    object_class_property_add(oc, "cap", "uint32", vm_get_share, vm_set_share,
                              NULL, (void *)1);
    object_class_property_set_description(oc, "cap",
        "most that the VM gets, in percent of one PCPU, under policies that"
        " know caps; 0 (no cap) to 100 for each PCPU, default 0");
    object_class_property_add(oc, "vcpus", "uint16List", vm_get_vcpus, NULL,
                              NULL, NULL);
    object_class_property_set_description(oc, "vcpus", "its VCPUs");
}

/*
 * ------------------------------------------------------------------------
 * PCPUs.
 */

static bool pcpu_get_online(Object *obj, Error **errp)
{
    return core()->topology.online >> number_of(obj) & 1;
}

static void pcpu_set_online(Object *obj, bool value, Error **errp)
{
    uint64_t bit = UINT64_C(1) << number_of(obj);
    uint64_t online = core()->topology.online;
    char *why = NULL;
    bool done;

    if (!vsched_between_windows(vsched_engine, errp)) {
        return;
    }
    done = vsched_core_set_online(core(), value ? online | bit : online & ~bit,
                                  &why);
    check(done, "offline", why, errp);
}

char *vsched_speed_text(const VschedSpeed *speed)
{
    return speed->insns == speed->cycles ? g_strdup("1") :
           g_strdup_printf("%u/%u", speed->insns, speed->cycles);
}

static char *pcpu_get_speed(Object *obj, Error **errp)
{
    return vsched_speed_text(&core()->pcpu[number_of(obj)].speed);
}

/* "1" or "2/3" */
static bool parse_speed(const char *text, unsigned *insns, unsigned *cycles)
{
    const char *end;

    if (!g_ascii_isdigit(*text) || qemu_strtoui(text, &end, 10, insns)) {
        return false;
    }
    *cycles = 1;
    return !*end || (*end == '/' && g_ascii_isdigit(end[1]) &&
                     !qemu_strtoui(end + 1, NULL, 10, cycles));
}

bool vsched_parse_speed(const char *text, VschedSpeed *speed, Error **errp)
{
    unsigned insns, cycles;

    if (!parse_speed(text, &insns, &cycles) || insns < 1 || insns > cycles ||
        cycles > VSCHED_SPEED_MAX) {
        error_setg(errp, "speed=%s is not a speed: allowed are 1, and ratios "
                   "such as 2/3 from 1/%d to 1 of numbers up to %d", text,
                   VSCHED_SPEED_MAX, VSCHED_SPEED_MAX);
        return false;
    }
    *speed = (VschedSpeed) { insns, cycles };
    return true;
}

static void pcpu_set_speed(Object *obj, const char *value, Error **errp)
{
    VschedSpeed speed;
    char *why = NULL;
    bool done;

    if (!vsched_between_windows(vsched_engine, errp) ||
        !vsched_parse_speed(value, &speed, errp)) {
        return;
    }
    done = vsched_core_set_speed(core(), number_of(obj), speed.insns,
                                 speed.cycles, &why);
    check(done, "speed", why, errp);
}

static void pcpu_get_vcpu(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    int32_t vcpu = core()->pcpu[number_of(obj)].current;

    visit_type_int32(v, name, &vcpu, errp);
}

static void pcpu_class_init(ObjectClass *oc, void *data)
{
    object_class_property_add_bool(oc, "online", pcpu_get_online,
                                   pcpu_set_online);
    object_class_property_set_description(oc, "online",
        "whether it runs VCPUs; the last one that does cannot go off");
    object_class_property_add_str(oc, "speed", pcpu_get_speed,
                                  pcpu_set_speed);
    object_class_property_set_description(oc, "speed",
        "instructions that it retires in a cycle: 1, or a ratio such as 2/3"
        " of numbers up to " stringify(VSCHED_SPEED_MAX) "; default 1");
    object_class_property_add(oc, "vcpu", "int32", pcpu_get_vcpu, NULL, NULL,
                              NULL);
    object_class_property_set_description(oc, "vcpu",
        "the VCPU that runs on it; -1 if none does");
}

/*
 * ------------------------------------------------------------------------
 * VCPUs.
 */

static void vcpu_get_affinity(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    visit_mask(v, name, &core()->vcpu[number_of(obj)].affinity, errp);
}

static void vcpu_set_affinity(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    char *why = NULL;
    uint64_t mask;
    bool done;

    if (vsched_between_windows(vsched_engine, errp) &&
        read_mask(v, name, &mask, errp)) {
        done = vsched_core_set_affinity(core(), number_of(obj), mask, &why);
        check(done, "affinity", why, errp);
    }
}

static void vcpu_get_number(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    int vcpu = number_of(obj);
    int32_t value = opaque ? core()->vcpu[vcpu].pcpu
                           : core()->topology.vm[vcpu];

    visit_type_int32(v, name, &value, errp);
}

static char *vcpu_get_state(Object *obj, Error **errp)
{
    static const char *const names[VSCHED_STATES] = {
        [VSCHED_BLOCKED] = "blocked",
        [VSCHED_READY] = "ready",
        [VSCHED_RUNNING] = "running",
        [VSCHED_SWITCHING] = "switching",
    };

    return g_strdup(names[core()->vcpu[number_of(obj)].state]);
}

static void vcpu_class_init(ObjectClass *oc, void *data)
{
    object_class_property_add(oc, "affinity", "uint16List", vcpu_get_affinity,
                              vcpu_set_affinity, NULL, NULL);
    object_class_property_set_description(oc, "affinity",
        "PCPUs that it may run on; suspended while all of them are off;"
        " default all");
    object_class_property_add(oc, "vm", "int32", vcpu_get_number, NULL, NULL,
                              NULL);
    object_class_property_set_description(oc, "vm",
        "the VM that it belongs to, /machine/vm[...]");
    object_class_property_add(oc, "pcpu", "int32", vcpu_get_number, NULL, NULL,
                              (void *)1);
    object_class_property_set_description(oc, "pcpu",
        "the PCPU that it runs on, or ran on last");
    object_class_property_add_link(oc, "cpu", TYPE_CPU,
                                   offsetof(VschedNumber, cpu), NULL, 0);
    object_class_property_set_description(oc, "cpu",
        "the CPU of the guest; empty while it is not plugged");
    object_class_property_add_str(oc, "state", vcpu_get_state, NULL);
    object_class_property_set_description(oc, "state",
        "running, ready, blocked");
}

/*
 * ------------------------------------------------------------------------
 * Life.
 */

static void create(Object *parent, const char *type, const char *name, int n)
{
    for (int i = 0; i < n; i++) {
        g_autofree char *child = g_strdup_printf("%s[%d]", name, i);
        Object *obj = object_new(type);

        ((VschedNumber *)obj)->number = i;
        object_property_add_child(parent, child, obj);
        object_unref(obj);
    }
}

void vsched_objects_create(VschedEngine *e, MachineState *ms)
{
    create(OBJECT(ms), TYPE_VSCHED_VM, "vm", e->core->topology.vms);
    create(OBJECT(e), TYPE_VSCHED_PCPU, "pcpu", e->pcpus);
    create(OBJECT(e), TYPE_VSCHED_VCPU, "vcpu", e->core->topology.vcpus);
}

void vsched_objects_created_vcpu(VschedEngine *e, CPUState *cpu)
{
    g_autofree char *child = g_strdup_printf("vcpu[%d]", vsched_vcpu(cpu));
    Object *obj = object_resolve_path_component(OBJECT(e), child);

    VSCHED_VCPU(obj)->cpu = cpu;
}

/*
 * ------------------------------------------------------------------------
 * What the command line says.
 */

/* "5", "0-7", or as a mask "0xf0"; all below @n, which is at most 64. */
static bool parse_set(const char *text, int n, uint64_t *set)
{
    uint64_t all = UINT64_MAX >> (64 - n), low, high;
    const char *end;

    if (g_str_has_prefix(text, "0x")) {
        return !qemu_strtou64(text, NULL, 16, set) && *set && !(*set & ~all);
    }
    if (!g_ascii_isdigit(*text) || qemu_strtou64(text, &end, 10, &low)) {
        return false;
    }
    high = low;
    if (*end == '-') {
        if (!g_ascii_isdigit(end[1]) ||
            qemu_strtou64(end + 1, &end, 10, &high)) {
            return false;
        }
    }
    if (*end || low > high || high >= n) {
        return false;
    }
    *set = (UINT64_MAX >> (63 - (high - low))) << low;
    return true;
}

/* "0-7": numbers below @n, of VCPUs, of which there may be more than 64 */
static bool parse_range(const char *text, int n, int *low, int *high)
{
    const char *end;

    if (!g_ascii_isdigit(*text) || qemu_strtoi(text, &end, 10, low)) {
        return false;
    }
    *high = *low;
    if (*end == '-' && (!g_ascii_isdigit(end[1]) ||
                        qemu_strtoi(end + 1, &end, 10, high))) {
        return false;
    }
    return !*end && *low <= *high && *high < n;
}

int *vsched_option_vms(VschedEngine *e, int vcpus, Error **errp)
{
    g_autofree int *vm = g_new0(int, vcpus);
    g_auto(GStrv) sizes = NULL;
    int n = 0;

    if (!e->vms) {
        return g_steal_pointer(&vm);
    }
    sizes = g_strsplit(e->vms, "+", -1);
    for (int i = 0; sizes[i]; i++) {
        int size;

        if (!g_ascii_isdigit(*sizes[i]) ||
            qemu_strtoi(sizes[i], NULL, 10, &size) || size < 1 ||
            size > vcpus - n) {
            n = -1;
            break;
        }
        while (size--) {
            vm[n++] = i;
        }
    }
    if (n != vcpus) {
        error_setg(errp, "vms=%s is not possible: allowed are numbers of VCPUs "
                   "joined by '+', 1 or more for each VM, whose sum is %d",
                   e->vms, vcpus);
        return NULL;
    }
    return g_steal_pointer(&vm);
}

/* What '+' joins: one part at least, which is empty if @text is. */
static char **split(const char *text)
{
    char **parts = g_strsplit(text, "+", -1);

    if (!*parts) {
        g_strfreev(parts);
        parts = g_new0(char *, 2);
        *parts = g_strdup("");
    }
    return parts;
}

static bool given_affinity(const char *text, VschedCoreState *st, Error **errp)
{
    g_auto(GStrv) parts = split(text);
    g_autofree uint64_t *mask = g_new0(uint64_t, st->vcpus);

    for (int i = 0; parts[i]; i++) {
        g_auto(GStrv) half = g_strsplit(parts[i], ":", -1);
        uint64_t set;
        int low, high;

        if (g_strv_length(half) != 2 ||
            !parse_range(half[0], st->vcpus, &low, &high) ||
            !parse_set(half[1], st->pcpus, &set)) {
            error_setg(errp, "affinity=%s is not possible: allowed are "
                       "VCPUS:PCPUS joined by '+', VCPUs from 0 to %d, PCPUs "
                       "from 0 to %d, each N or N-M, PCPUs also as a mask 0xN",
                       text, st->vcpus - 1, st->pcpus - 1);
            return false;
        }
        for (int v = low; v <= high; v++) {
            mask[v] |= set;
        }
    }
    for (int v = 0; v < st->vcpus; v++) {
        if (mask[v]) {
            st->vcpu[v].affinity = mask[v];
        }
    }
    return true;
}

/* "" is possible: none is off. */
static bool given_offline(const char *text, VschedCoreState *st, Error **errp)
{
    uint64_t all = UINT64_MAX >> (VSCHED_PCPUS_MAX - st->pcpus), off = 0;
    g_auto(GStrv) parts = g_strsplit(text, "+", -1);
    bool ok = true;

    for (int i = 0; parts[i]; i++) {
        uint64_t set = 0;

        ok &= parse_set(parts[i], st->pcpus, &set);
        off |= set;
    }
    if (!ok || off == all) {
        error_setg(errp, "offline=%s is not possible: allowed are PCPUs from 0 "
                   "to %d, N, N-M or a mask 0xN, joined by '+', but not all of "
                   "them", text, st->pcpus - 1);
        return false;
    }
    st->online = all & ~off;
    return true;
}

static bool given_speed(const char *text, VschedCoreState *st, Error **errp)
{
    g_auto(GStrv) parts = split(text);
    uint64_t named = 0;

    for (int i = 0; parts[i]; i++) {
        char *colon = strchr(parts[i], ':');
        const char *ratio = colon ? colon + 1 : parts[i];
        uint64_t set = UINT64_MAX >> (VSCHED_PCPUS_MAX - st->pcpus);
        unsigned insns, cycles;

        if (colon) {
            *colon = 0;
        }
        if ((colon && !parse_set(parts[i], st->pcpus, &set)) ||
            !parse_speed(ratio, &insns, &cycles) || insns < 1 ||
            insns > cycles || cycles > VSCHED_SPEED_MAX) {
            error_setg(errp, "speed=%s is not possible: allowed are RATIO or "
                       "PCPUS:RATIO joined by '+', PCPUs from 0 to %d as N, "
                       "N-M or a mask 0xN, ratios such as 2/3 from 1/%d to 1",
                       text, st->pcpus - 1, VSCHED_SPEED_MAX);
            return false;
        }
        if (colon ? named & set : i > 0) {
            error_setg(errp, "speed=%s is not possible: a PCPU has two speeds; "
                       "allowed are one RATIO, which comes first, for those "
                       "that are not named, and one PCPUS:RATIO for the others",
                       text);
            return false;
        }
        named |= colon ? set : 0;
        for (int p = 0; p < st->pcpus; p++) {
            VschedSpeed *speed = &st->pcpu[p].speed;

            /* If it is what it was saved with, what it carries remains. */
            if (set >> p & 1 &&
                (speed->insns != insns || speed->cycles != cycles)) {
                *speed = (VschedSpeed) { insns, cycles };
            }
        }
    }
    return true;
}

/* weights= or caps=: a number for each VM */
static bool given_shares(const char *name, const char *text, uint32_t low,
                         uint32_t high, size_t offset, VschedCoreState *st,
                         Error **errp)
{
    g_auto(GStrv) parts = g_strsplit(text, "+", -1);
    bool ok = g_strv_length(parts) == st->vms;

    for (int i = 0; ok && i < st->vms; i++) {
        unsigned value;

        ok = g_ascii_isdigit(*parts[i]) &&
             !qemu_strtoui(parts[i], NULL, 10, &value) && value >= low &&
             value <= high;
        if (ok) {
            *(uint32_t *)((char *)&st->share[i] + offset) = value;
        }
    }
    if (!ok) {
        error_setg(errp, "%s=%s is not possible: allowed are numbers from %u to"
                   " %u joined by '+', one for each VM, of which there are %d",
                   name, text, low, high, st->vms);
    }
    return ok;
}

bool vsched_objects_given(VschedEngine *e, VschedCoreState *st, Error **errp)
{
    return (!vsched_given(VSCHED_BY_USER, "weights") ||
            given_shares("weights", e->weights, 1, VSCHED_WEIGHT_MAX,
                         offsetof(VschedShare, weight), st, errp)) &&
           (!vsched_given(VSCHED_BY_USER, "caps") ||
            given_shares("caps", e->caps, 0, 100 * st->pcpus,
                         offsetof(VschedShare, cap), st, errp)) &&
           (!vsched_given(VSCHED_BY_USER, "affinity") ||
            given_affinity(e->affinity, st, errp)) &&
           (!vsched_given(VSCHED_BY_USER, "offline") ||
            given_offline(e->offline, st, errp)) &&
           (!vsched_given(VSCHED_BY_USER, "speed") ||
            given_speed(e->speed, st, errp));
}

static const TypeInfo types[] = {
    {
        .name = TYPE_VSCHED_VM,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(VschedNumber),
        .class_init = vm_class_init,
    }, {
        .name = TYPE_VSCHED_PCPU,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(VschedNumber),
        .class_init = pcpu_class_init,
    }, {
        .name = TYPE_VSCHED_VCPU,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(VschedNumber),
        .class_init = vcpu_class_init,
    },
};

DEFINE_TYPES(types)
