/*
 * Call stacks: memory and registers as a hand-made run leaves them.
 *
 * What a stack has to be follows from the calling conventions, and is written
 * beside each test; frames are drawn with the innermost at the top.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../stack.h"

/* Words that there are, by address; user memory is apart. */
typedef struct Memory {
    GHashTable *words[2];
    VschedStackMemory of;
} Memory;

static bool read_memory(void *opaque, bool user, uint64_t address,
                        unsigned size, uint64_t *value)
{
    Memory *m = opaque;
    gpointer found;

    if (!g_hash_table_lookup_extended(m->words[user],
                                      GSIZE_TO_POINTER(address << 4 | size),
                                      NULL, &found)) {
        return false;
    }
    *value = GPOINTER_TO_SIZE(found);
    return true;
}

static Memory *memory_new(void)
{
    Memory *m = g_new(Memory, 1);

    for (int i = 0; i < 2; i++) {
        m->words[i] = g_hash_table_new(NULL, NULL);
    }
    m->of = (VschedStackMemory) { .read = read_memory, .opaque = m };
    return m;
}

static void memory_free(Memory *m)
{
    for (int i = 0; i < 2; i++) {
        g_hash_table_destroy(m->words[i]);
    }
    g_free(m);
}

static void put(Memory *m, bool user, uint64_t address, unsigned size,
                uint64_t value)
{
    g_hash_table_insert(m->words[user], GSIZE_TO_POINTER(address << 4 | size),
                        GSIZE_TO_POINTER(value));
}

static void put_bytes(Memory *m, uint64_t address, const char *bytes, int n)
{
    for (int i = 0; i < n; i++) {
        put(m, true, address + i, 1, (uint8_t)bytes[i]);
    }
}

#define USER VSCHED_CALLER_USER
#define LINK VSCHED_CALLER_LINK

static void check(const VschedStack *stack, VschedStackEnd end, int n,
                  const VschedCaller *callers)
{
    g_assert_cmpint(stack->callers, ==, n);
    for (int i = 0; i < n; i++) {
        g_assert_cmphex(stack->caller[i].address, ==, callers[i].address);
        g_assert_cmpint(stack->caller[i].kind, ==, callers[i].kind);
    }
    g_assert_cmpint(stack->end, ==, end);
}

#define CHECK(stack, end, ...) do {                                           \
        const VschedCaller callers_[] = { __VA_ARGS__ };                      \
        check(stack, end, G_N_ELEMENTS(callers_), callers_);                  \
    } while (0)

/*
 * Three windows, all in the register file.  %o7 is what the last call of the
 * innermost function left; the outermost has no frame outside it.
 */
static const VschedWindows three = {
    .o6 = 0x10001, .o7 = 0x5000,
    .windows = 3,
    .window = { { 0x10101, 0x4008 }, { 0x10201, 0x3004 }, { 0, 0x2000 } },
};

static void test_register_file(void)
{
    Memory *m = memory_new();
    VschedStack stack;

    vsched_stack_of_windows(&three, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x5000, LINK }, { 0x4008, 0 },
          { 0x3004, 0 }, { 0x2000, 0 });
    memory_free(m);
}

/* The same with the two outer windows on the stack, at %sp + 2047 + 8 i. */
static void spill(Memory *m)
{
    put(m, false, 0x10101 + 2047 + 14 * 8, 8, 0x10201);
    put(m, false, 0x10101 + 2047 + 15 * 8, 8, 0x3004);
    put(m, false, 0x10201 + 2047 + 14 * 8, 8, 0);
    put(m, false, 0x10201 + 2047 + 15 * 8, 8, 0x2000);
}

static void test_memory(void)
{
    Memory *m = memory_new();
    VschedWindows w = three;
    VschedStack stack;

    w.windows = 1;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_UNREADABLE, { 0x5000, LINK }, { 0x4008, 0 });
    spill(m);
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x5000, LINK }, { 0x4008, 0 },
          { 0x3004, 0 }, { 0x2000, 0 });
    /* Of four callers there is room for two, and for all of them. */
    vsched_stack_of_windows(&w, &m->of, 2, &stack);
    CHECK(&stack, VSCHED_STACK_DEEP, { 0x5000, LINK }, { 0x4008, 0 });
    vsched_stack_of_windows(&w, &m->of, 4, &stack);
    g_assert_cmpint(stack.end, ==, VSCHED_STACK_WHOLE);
    memory_free(m);
}

/* Code of 32 bits: no bias, words of 4 bytes, and upper halves mean nothing. */
static void test_user_32(void)
{
    Memory *m = memory_new();
    VschedStack stack;
    const VschedWindows w = {
        .user = true,
        .o6 = 0xeffff000, .o7 = 0x10500,
        .windows = 1,
        .window = { { 0xdead0000effff100, 0x0000000110400 } },
    };

    put(m, true, 0xeffff100 + 14 * 4, 4, 0xeffff200);
    put(m, true, 0xeffff100 + 15 * 4, 4, 0x10300);
    put(m, true, 0xeffff200 + 14 * 4, 4, 0);
    put(m, true, 0xeffff200 + 15 * 4, 4, 0);
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x10500, USER | LINK },
          { 0x110400, USER }, { 0x10300, USER });
    memory_free(m);
}

/* A user's stack that does not go upwards, or is not aligned, is none. */
static void test_implausible(void)
{
    Memory *m = memory_new();
    VschedWindows w = three;
    VschedStack stack;

    w.user = true;
    w.o7 = 0;
    w.window[0].i6 = 0xff01;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x4008, USER });
    w.window[0].i6 = 0x10103;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x4008, USER });
    w.window[0].i6 = 0x10001 + (1 << 20);
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x4008, USER });
    /* Privileged code has several stacks, but no frame is its own caller's. */
    w.user = false;
    w.window[0].i6 = 0xff01;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x4008, 0 }, { 0x3004, 0 },
          { 0x2000, 0 });
    w.window[0].i6 = w.o6;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x4008, 0 });
    memory_free(m);
}

/*
 * A system call of Linux: two windows of the kernel, the outer one of which is
 * that of the trap entry, with pt_regs above it; then the user's, whose first
 * two are still in the register file.
 *
 *     function         %i7 0x800100, in the trap entry
 *     trap entry       %i6, %i7 are the user's %o6, %o7; pt_regs: TPC 0x20040
 *     user's entry     %i7 0x30000
 *     main             on the user's stack: %i7 0x40000
 */
static void test_linux_system_call(void)
{
    Memory *m = memory_new();
    VschedStack stack;
    VschedWindows w = {
        .o6 = 0xfff0001, .o7 = 0x800004,
        .windows = 3,
        .window = { { 0xfff1001, 0x800100 }, { 0x7fe0001, 0x20000 },
                    { 0x7fe0101, 0x30000 } },
    };
    uint64_t regs = 0xfff1001 + 2047 + 192;

    put(m, false, regs + 156, 4, 0x57ac6c00 + 0x6d);
    put(m, false, regs + 14 * 8, 8, 0x7fe0001);
    put(m, false, regs + 128, 8, 0x9980001000);    /* PSTATE: IE and AG off */
    put(m, false, regs + 136, 8, 0x20040);
    put(m, true, 0x7fe0101 + 2047 + 14 * 8, 8, 0);
    put(m, true, 0x7fe0101 + 2047 + 15 * 8, 8, 0x40000);
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x800004, LINK }, { 0x800100, 0 },
          { 0x20040, USER }, { 0x20000, USER | LINK }, { 0x30000, USER },
          { 0x40000, USER });
    /* The entry has called nothing since its window was cleaned. */
    w.window[1].i7 = 0;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x800004, LINK }, { 0x800100, 0 },
          { 0x20040, USER }, { 0x30000, USER }, { 0x40000, USER });
    w.window[1].i7 = 0x20000;
    /* The same from privileged code, TSTATE says so. */
    put(m, false, regs + 128, 8, 0x9980001000 | 4 << 8);
    put(m, false, 0x7fe0101 + 2047 + 14 * 8, 8, 0);
    put(m, false, 0x7fe0101 + 2047 + 15 * 8, 8, 0x40000);
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x800004, LINK }, { 0x800100, 0 },
          { 0x20040, 0 }, { 0x20000, LINK }, { 0x30000, 0 }, { 0x40000, 0 });
    /* What an earlier trap left there, whose %o6 was another one. */
    put(m, false, regs + 14 * 8, 8, 0x7fe0009);
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x800004, LINK }, { 0x800100, 0 },
          { 0x20000, 0 }, { 0x30000, 0 }, { 0x40000, 0 });
    memory_free(m);
}

/* In a handler at trap level 2, for a spill that a trap from user mode needs */
static void test_trap_levels(void)
{
    Memory *m = memory_new();
    VschedWindows w = three;
    VschedStack stack;

    w.traps = 2;
    w.trap[0].pc = 0x404180;
    w.trap[1].pc = 0x10010;
    w.trap[1].user = true;
    w.window[0].i6 = 0x10101;
    vsched_stack_of_windows(&w, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x404180, 0 }, { 0x10010, USER },
          { 0x5000, USER | LINK }, { 0x4008, USER }, { 0x3004, USER },
          { 0x2000, USER });
    vsched_stack_of_windows(&w, &m->of, 1, &stack);
    CHECK(&stack, VSCHED_STACK_DEEP, { 0x404180, 0 });
    memory_free(m);
}

/*
 * x86-64: leaf, called at 0x1100 (E8), in a function called at 0x1200 (FF /2,
 * register), in one called at 0x1300 (FF /2, memory), which has no caller.
 */
static Memory *x86_calls(void)
{
    Memory *m = memory_new();

    put_bytes(m, 0x1100, "\xe8\x01\x02\x03\x04", 5);
    put_bytes(m, 0x1200, "\xff\xd0", 2);
    put_bytes(m, 0x1300, "\xff\x15\x01\x02\x03\x04", 6);
    put(m, true, 0x7000, 8, 0x7100);
    put(m, true, 0x7008, 8, 0x1105);
    put(m, true, 0x7100, 8, 0x7200);
    put(m, true, 0x7108, 8, 0x1202);
    put(m, true, 0x7200, 8, 0);
    put(m, true, 0x7208, 8, 0x1306);
    return m;
}

static void test_x86(void)
{
    Memory *m = x86_calls();
    VschedStack stack;
    VschedFrames f = {
        .rules = VSCHED_FRAMES_X86_64,
        .user = true,
        .pc = 0x1000, .sp = 0x6ff0, .fp = 0x7000,
    };

    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x1104, USER }, { 0x1201, USER },
          { 0x1305, USER });
    vsched_stack_of_frames(&f, &m->of, 2, &stack);
    CHECK(&stack, VSCHED_STACK_DEEP, { 0x1104, USER }, { 0x1201, USER });
    /* Nothing calls before this return address: it is a number. */
    put(m, true, 0x7108, 8, 0x1102);
    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x1104, USER });
    /* A frame pointer that points below the stack is none, nor one far off. */
    f.sp = 0x7008;
    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE);
    f.sp = 0x7000 - (1 << 20);
    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE);
    /* Nor is an address of the kernel's a caller of user code. */
    f.sp = 0x7000;
    put(m, true, 0x7008, 8, 0xffffffff81001105);
    put(m, true, 0xffffffff81001100, 1, 0xe8);
    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE);
    memory_free(m);
}

/* Before PUSH %rbp, after it, and at RET the caller's frame is current. */
static void test_x86_prologue(void)
{
    Memory *m = x86_calls();
    VschedStack stack;
    VschedFrames f = { .rules = VSCHED_FRAMES_X86_64, .user = true };

    put_bytes(m, 0x1000, "\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x5d\xc3", 10);
    put(m, true, 0x6ff8, 8, 0x7100);
    for (int i = 0; i < 4; i++) {
        static const uint64_t pc[] = { 0x1000, 0x1004, 0x1005, 0x1009 };

        f.pc = pc[i];
        f.fp = 0x7100;
        f.sp = i == 2 ? 0x7000 : 0x7008;
        vsched_stack_of_frames(&f, &m->of, 16, &stack);
        CHECK(&stack, VSCHED_STACK_WHOLE, { 0x1104, USER }, { 0x1201, USER },
              { 0x1305, USER });
    }
    memory_free(m);
}

/* AArch64: BL at 0x1100, BLR at 0x1200; x30 is noted apart. */
static void test_aarch64(void)
{
    Memory *m = memory_new();
    VschedStack stack;
    VschedFrames f = {
        .rules = VSCHED_FRAMES_AARCH64,
        .user = true,
        .pc = 0x1000, .sp = 0x7000, .fp = 0x7010,
        .link = 0x1104,
    };

    put(m, true, 0x1100, 4, 0x94000123);
    put(m, true, 0x1200, 4, 0xd63f0260);
    put(m, true, 0x7010, 8, 0x7100);
    put(m, true, 0x7018, 8, 0x7f25000000001204);    /* authenticated */
    put(m, true, 0x7100, 8, 0);
    put(m, true, 0x7108, 8, 0);
    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_WHOLE, { 0x1100, USER | LINK },
          { 0x1200, USER });
    f.link = 0x1234;
    f.fp = 0x8000;
    vsched_stack_of_frames(&f, &m->of, 16, &stack);
    CHECK(&stack, VSCHED_STACK_UNREADABLE);
    memory_free(m);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stack/sparc/register-file", test_register_file);
    g_test_add_func("/stack/sparc/memory", test_memory);
    g_test_add_func("/stack/sparc/user-32", test_user_32);
    g_test_add_func("/stack/sparc/implausible", test_implausible);
    g_test_add_func("/stack/sparc/linux-system-call", test_linux_system_call);
    g_test_add_func("/stack/sparc/trap-levels", test_trap_levels);
    g_test_add_func("/stack/x86-64/calls", test_x86);
    g_test_add_func("/stack/x86-64/prologue", test_x86_prologue);
    g_test_add_func("/stack/aarch64", test_aarch64);
    return g_test_run();
}
