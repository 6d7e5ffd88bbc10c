/*
 * Call stacks of SPARC V9: what the register file and the TLB say.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "cpu.h"
#include "stack-target.h"

/*
 * Data is where a TLB entry says that it is; what no entry maps, only the
 * guest's handlers know.  User memory belongs to the primary context.  Linux
 * makes that its own in its handlers, and the user's the secondary one.
 */
static bool sparc_page(CPUState *cpu, bool user, uint64_t address,
                       hwaddr *physical, MemTxAttrs *attrs)
{
    CPUSPARCState *env = cpu_env(cpu);
    uint64_t primary = env->dmmu.mmu_primary_context & 0x1fff;
    uint64_t secondary = env->dmmu.mmu_secondary_context & 0x1fff;
    uint64_t context = user ? (primary ? primary : secondary) :
                       env->tl ? 0 : primary;

    if (!(env->lsu & DMMU_E)) {
        *physical = address & 0x1ffffffffffULL;
        return true;
    }
    for (int i = 0; i < ARRAY_SIZE(env->dtlb); i++) {
        const SparcTLBEntry *entry = &env->dtlb[i];
        uint64_t mask = -(8192ULL << 3 * TTE_PGSIZE(entry->tte));

        if (TTE_IS_VALID(entry->tte) &&
            (TTE_IS_GLOBAL(entry->tte) || (entry->tag & 0x1fff) == context) &&
            !((address ^ entry->tag) & mask & ~0x1fffULL)) {
            *physical = (TTE_PA(entry->tte) & mask) | (address & ~mask);
            return true;
        }
    }
    return false;
}

/* The %i registers of window @w are the %o registers of the next one. */
static const target_ulong *ins(const CPUSPARCState *env, unsigned w)
{
    if (w == env->nwindows - 1 && w != env->cwp) {
        return env->regbase;
    }
    return env->regbase + (w + 1) * 16;
}

/* Of window 0, the last one has a copy that is more recent while it is used. */
static const target_ulong *outs(const CPUSPARCState *env, unsigned w)
{
    return w == 0 && env->cwp == env->nwindows - 1 ?
           env->regbase + env->nwindows * 16 : env->regbase + w * 16;
}

static void sparc_stack(CPUState *cpu, uint64_t pc, bool user, int most,
                        VschedStack *stack)
{
    CPUSPARCState *env = cpu_env(cpu);
    VschedLook look = { .cpu = cpu, .page = sparc_page, .big_endian = true };
    VschedStackMemory memory = vsched_look(&look);
    VschedWindows w = { .user = user };
    unsigned cwp = env->cwp;

    for (unsigned level = env->tl; level; level--) {
        const trap_state *ts = &env->ts[level & MAXTL_MASK];

        w.trap[w.traps].pc = ts->tpc;
        w.trap[w.traps++].user = !(ts->tstate >> 8 & PS_PRIV);
        cwp = env->nwindows - 1 - (ts->tstate & 0x1f);  /* QEMU counts down */
    }
    if (cwp < env->nwindows) {
        w.o6 = outs(env, cwp)[6];
        w.o7 = outs(env, cwp)[7];
        w.windows = MIN(env->canrestore + 1 + env->otherwin,
                        env->nwindows - 1);
        for (int i = 0; i < w.windows; i++) {
            unsigned window = (cwp + i) % env->nwindows;

            w.window[i].i6 = ins(env, window)[6];
            w.window[i].i7 = ins(env, window)[7];
        }
    }
    vsched_stack_of_windows(&w, &memory, most, stack);
}

static void register_stacks(void)
{
    vsched_stack_of_target = sparc_stack;
}

type_init(register_stacks)
