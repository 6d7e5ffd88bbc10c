/*
 * Bare-metal kit: devices, parameters, start and stop of VCPUs, cross-calls,
 * report.  See kit.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "kit.h"

/* Physical addresses of the sun4u board */
#define PCI_CONFIG          0x1fe01000000ull
#define PCI_IO              0x1fe02000000ull
#define SIMBA_A             (PCI_CONFIG + (1 << 11) + (1 << 8)) /* device 1, function 1 */
enum { PCI_COMMAND = 0x04, PCI_IO_BASE = 0x1c, PCI_IO_LIMIT = 0x1d };
enum { PCI_COMMAND_IO = 1, PCI_COMMAND_MASTER = 4 };
#define SERIAL              (PCI_IO + 0x3f8)
#define SERIAL_STATUS       5
#define SERIAL_EMPTY        0x20
#define FW_CFG_SELECTOR     (PCI_IO + 0x510)
#define FW_CFG_DATA         (PCI_IO + 0x511)
#define POWER               (PCI_IO + 0x7240)
#define POWER_OFF           (1 << 24)
#define FW_CFG_RAM_SIZE     0x03
#define FW_CFG_DIRECTORY    0x19
#define FW_CFG_TICK_FREQUENCY   0x8003

/* Start register block of the cmp machines: docs/machine.rst */
#define START_BLOCK         0x1fe0f000000ull
#define START_BLOCK_ID      0x434d505354415254ull
enum {
    START_ID = 0x00, START_CONFIG = 0x08, START_MODULE = 0x10, START_PC = 0x18,
    START_ARGUMENT = 0x20, START_TRAP_BASE = 0x28, START_COMMAND = 0x30,
    START_SHUTDOWN = 0x40,
};

enum { STATE_OFF, STATE_UP, STATE_DONE };
enum { EXIT_OK, EXIT_FAILED, EXIT_ERROR };

struct vcpu kit_vcpus[MAX_VCPUS];
unsigned int vcpus = 1;

char kit_first_stack[STACK_SIZE] __attribute__((aligned(64)));
char kit_fatal_stack[STACK_SIZE] __attribute__((aligned(64)));
static char stacks[MAX_VCPUS][STACK_SIZE] __attribute__((aligned(64)));
static bool has_start_block;
static bool user_mode;
static uint64_t mark_register;   /* of a vsched-mark; 0: there is none */
static bool ended;
static bool touches;
static uint64_t scratch[MAX_VCPUS][512];
static bool stay;                /* VCPUs take interrupts until the end */
static char arguments[512];
static char output[65536];
static size_t output_length;
static uint64_t free_ram, ram_end;
static void (*volatile current_work)(struct vcpu *me);
static volatile uint64_t round_number;

_Static_assert(sizeof(struct vcpu) == 1 << VCPU_SHIFT, "VCPU_SHIFT");
_Static_assert(offsetof(struct vcpu, received) == VCPU_RECEIVED, "VCPU_RECEIVED");
_Static_assert(offsetof(struct vcpu, sum) == VCPU_SUM, "VCPU_SUM");
_Static_assert(offsetof(struct vcpu, stray) == VCPU_STRAY, "VCPU_STRAY");
_Static_assert(offsetof(struct vcpu, stack) == VCPU_STACK, "VCPU_STACK");

void kit_secondary(void);
void kit_main(struct vcpu *me);
void kit_interrupt(uint64_t level, struct vcpu *me);
void kit_fatal_trap(uint64_t type, uint64_t pc, uint64_t level);
uint64_t kit_probe(uint64_t address);

/* Physical addresses */

static void write8(uint64_t address, uint8_t value)
{
    asm volatile("stba %0, [%1] %2" : : "r"(value), "r"(address), "i"(ASI_PHYS_IO) : "memory");
}

static uint8_t read8(uint64_t address)
{
    uint8_t value;

    asm volatile("lduba [%1] %2, %0" : "=r"(value) : "r"(address), "i"(ASI_PHYS_IO) : "memory");
    return value;
}

static void write32(uint64_t address, uint32_t value)
{
    asm volatile("stwa %0, [%1] %2" : : "r"(value), "r"(address), "i"(ASI_PHYS_IO) : "memory");
}

static void write64(uint64_t address, uint64_t value)
{
    asm volatile("stxa %0, [%1] %2" : : "r"(value), "r"(address), "i"(ASI_PHYS_IO) : "memory");
}

void write_register(uint64_t address, uint64_t value)
{
    write64(address, value);
}

static uint64_t read64(uint64_t address)
{
    uint64_t value;

    asm volatile("ldxa [%1] %2, %0" : "=r"(value) : "r"(address), "i"(ASI_PHYS_IO) : "memory");
    return value;
}

/* Marks: 1 at the begin of what the program is about, 2 or 3 at its end */

void mark_begin(void)
{
    if (mark_register) {
        write64(mark_register, 1);
    }
}

uint64_t mark_address(void)
{
    return mark_register;
}

void mark_end(bool ok)
{
    if (mark_register && !ended) {
        write64(mark_register, ok ? 2 : 3);
    }
    ended = true;
}

/* Output: collected, so that it is one valid object whatever happens. */

static void put(const char *text)
{
    while (*text && output_length < sizeof(output)) {
        output[output_length++] = *text++;
    }
}

static void flush(void)
{
    for (size_t i = 0; i < output_length; i++) {
        while (!(read8(SERIAL + SERIAL_STATUS) & SERIAL_EMPTY)) {
        }
        write8(SERIAL, output[i]);
    }
}

static void put_number(uint64_t value)
{
    char digits[21], *digit = &digits[20];

    *digit = 0;
    do {
        *--digit = '0' + value % 10;
        value /= 10;
    } while (value);
    put(digit);
}

static void put_hex(uint64_t value)
{
    char digits[17], *digit = &digits[16];

    *digit = 0;
    do {
        *--digit = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    put("0x");
    put(digit);
}

/* The end */

__attribute__((noreturn)) static void end(int status)
{
    mark_end(status == EXIT_OK);
    put("}\n");
    flush();
    if (has_start_block) {
        write64(START_BLOCK + START_SHUTDOWN, status);
    } else {
        write32(POWER, POWER_OFF);  /* QEMU's exit status is 0 then */
    }
    for (;;) {
    }
}

void finish(bool ok)
{
    put(", \"ok\": ");
    put(ok ? "true" : "false");
    end(ok ? EXIT_OK : EXIT_FAILED);
}

static void report_begin(void)
{
    output_length = 0;
    put("{\"program\": \"");
    put(program_name);
    put("\"");
}

static void fail_begin(void)
{
    report_begin();
    put(", \"ok\": false, \"error\": \"");
}

void fail(const char *what, const char *why)
{
    fail_begin();
    put(what);
    put(why);
    put("\"");
    end(EXIT_ERROR);
}

void kit_fatal_trap(uint64_t type, uint64_t pc, uint64_t level)
{
    fail_begin();
    put("trap ");
    put_hex(type);
    put(" at ");
    put_hex(pc);
    put(", trap level ");
    put_number(level);
    put("\"");
    end(EXIT_ERROR);
}

/* Parameters */

static bool same(const char *a, const char *b, size_t length)
{
    while (length && *a == *b) {
        a++;
        b++;
        length--;
    }
    return length == 0;
}

static size_t length(const char *text)
{
    size_t n = 0;

    while (text[n]) {
        n++;
    }
    return n;
}

static uint64_t fw_cfg_number(int bytes)
{
    uint64_t value = 0;

    while (bytes--) {
        value = value << 8 | read8(FW_CFG_DATA);
    }
    return value;
}

static void fw_cfg_select(uint16_t item)
{
    asm volatile("stha %0, [%1] %2" : : "r"(item), "r"(FW_CFG_SELECTOR),
                 "i"(ASI_PHYS_IO_LITTLE) : "memory");
}

static uint64_t fw_cfg_little_endian(uint16_t item, int bytes)
{
    uint64_t value = 0;

    fw_cfg_select(item);
    for (int i = 0; i < bytes; i++) {
        value |= (uint64_t)read8(FW_CFG_DATA) << (8 * i);
    }
    return value;
}

uint64_t tick_hz(void)
{
    /* 0: a QEMU that does not say, because it has no other */
    return fw_cfg_little_endian(FW_CFG_TICK_FREQUENCY, 4) ?: 100000000;
}

/* The file opt/args, if QEMU was given one, with a blank before each word */
static void read_arguments(void)
{
    uint32_t files, size;
    uint16_t item;
    char name[56];

    fw_cfg_select(FW_CFG_DIRECTORY);
    for (files = fw_cfg_number(4); files; files--) {
        size = fw_cfg_number(4);
        item = fw_cfg_number(2);
        fw_cfg_number(2);
        for (size_t i = 0; i < sizeof(name); i++) {
            name[i] = read8(FW_CFG_DATA);
        }
        if (same(name, "opt/args", sizeof("opt/args"))) {
            if (size > sizeof(arguments) - 2) {
                fail("opt/args", ": too long");
            }
            fw_cfg_select(item);
            arguments[0] = ' ';
            for (uint32_t i = 1; i <= size; i++) {
                arguments[i] = read8(FW_CFG_DATA);
            }
            return;
        }
    }
}

/* "NAME=" at the beginning of a word: its value, otherwise null */
static char *value_of(char *word, const char *name)
{
    size_t size = length(name);

    return word[0] == ' ' && same(word + 1, name, size) &&
           word[1 + size] == '=' ? word + size + 2 : NULL;
}

/* Value of a digit, decimal or hexadecimal; 16 or more: it is none. */
static unsigned digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/* Words that were looked at are wiped out; run_on_all() accepts no others. */
uint64_t parameter(const char *name, uint64_t preset, uint64_t min, uint64_t max)
{
    uint64_t value = preset;
    bool fine = true;
    char *text;

    for (char *word = arguments; *word; word++) {
        text = value_of(word, name);
        if (!text) {
            continue;
        }
        unsigned base = text[0] == '0' && text[1] == 'x' ? 16 : 10;

        text += base == 16 ? 2 : 0;
        fine = digit(*text) < base;
        for (value = 0; *text && *text != ' '; text++) {
            fine &= digit(*text) < base && value <= max;
            value = value * base + digit(*text);
        }
        fine &= value >= min && value <= max;
        while (word + 1 < text) {
            *++word = ' ';
        }
    }
    if (!fine) {
        fail_begin();
        put("parameter ");
        put(name);
        put(": ");
        put_number(min);
        put(" to ");
        put_number(max);
        put(" is possible\"");
        end(EXIT_ERROR);
    }
    return value;
}

void check_arguments(void)
{
    for (char *word = arguments; *word; word++) {
        if (*word != ' ') {
            fail("no such parameter: ", word);
        }
    }
}

void needs_privileged_mode(void)
{
    if (user_mode) {
        fail("parameter user", ": this program needs privileged mode, 0 is possible");
    }
}

void needs_interrupts(void)
{
    needs_privileged_mode();
    stay = true;
}

/* Memory */

void *allocate(uint64_t bytes)
{
    uint64_t mask = 8191, begin = free_ram;

    if (bytes > ram_end - begin) {
        fail("not enough RAM", ": -m gives more");
    }
    free_ram = (begin + bytes + mask) & ~mask;
    return (void *)begin;
}

/* VCPUs */

static void wait_for(volatile uint64_t *where, uint64_t value)
{
    while (*where != value) {
    }
}

static uint64_t work_in_user_mode(uint64_t argument)
{
    current_work((struct vcpu *)argument);
    return 0;
}

static void do_work(struct vcpu *me)
{
    if (user_mode) {
        kit_user(work_in_user_mode, (uint64_t)me);
    } else {
        current_work(me);
    }
    barrier();
    me->state = STATE_DONE;
}

static void stop_vcpu(void)
{
    interrupts(false);
    for (;;) {
        write64(START_BLOCK + START_COMMAND, COMMAND_STOP);
    }
}

uint64_t prepare_to_start(struct vcpu *vcpu, void (*entry)(void))
{
    uint64_t table;

    asm("rdpr %%tba, %0" : "=r"(table));
    vcpu->stack = (uint64_t)stacks[vcpu->index + 1];
    write64(START_BLOCK + START_MODULE, vcpu->index);
    write64(START_BLOCK + START_PC, (uint64_t)entry);
    write64(START_BLOCK + START_ARGUMENT, (uint64_t)vcpu);
    write64(START_BLOCK + START_TRAP_BASE, table);
    return START_BLOCK + START_COMMAND;
}

static bool try_to_start(struct vcpu *vcpu)
{
    write64(prepare_to_start(vcpu, kit_secondary), COMMAND_START);
    return read64(START_BLOCK + START_COMMAND) == 0;
}

bool restart_stopped(struct vcpu *vcpu)
{
    return has_start_block && try_to_start(vcpu);
}

static void start_vcpu(struct vcpu *vcpu)
{
    if (!try_to_start(vcpu)) {
        fail("start register block", ": a VCPU cannot be started");
    }
    wait_for(&vcpu->state, STATE_UP);
}

void labour(uint64_t turns)
{
    volatile uint64_t *mine = scratch[this_vcpu->index];

    if (!touches) {
        spend(turns);
        return;
    }
    for (uint64_t i = 0; i < turns; i++) {
        mine[i % 512] += i;
    }
}

uint64_t run_on_all(void (*work)(struct vcpu *me))
{
    uint64_t begin, cycles;

    check_arguments();
    current_work = work;
    kit_vcpus[0].state = STATE_UP;
    for (unsigned int i = 1; i < vcpus; i++) {
        start_vcpu(&kit_vcpus[i]);
    }
    interrupts(true);
    mark_begin();
    begin = tick();
    round_number++;
    do_work(&kit_vcpus[0]);
    for (unsigned int i = 1; i < vcpus; i++) {
        wait_for(&kit_vcpus[i].state, STATE_DONE);
    }
    cycles = tick() - begin;
    interrupts(false);
    return cycles;
}

/* Every VCPU gets here; number 0 runs the program. */
void kit_main(struct vcpu *me)
{
    if (me != kit_vcpus) {
        interrupts(true);
        me->state = STATE_UP;
        wait_for(&round_number, 1);
        do_work(me);
        while (stay) {
            barrier();
        }
        stop_vcpu();
    }

    /* PCI bridge: I/O addresses 0 to 0xffff (serial line, fw_cfg) go through. */
    write8(SIMBA_A + PCI_IO_BASE, 0x00);
    write8(SIMBA_A + PCI_IO_LIMIT, 0xf0);
    write8(SIMBA_A + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER);

    has_start_block = kit_probe(START_BLOCK + START_ID) == START_BLOCK_ID;
    if (has_start_block) {
        vcpus = read64(START_BLOCK + START_CONFIG) & 0xff;
    }
    for (unsigned int i = 0; i < MAX_VCPUS; i++) {
        kit_vcpus[i].index = i;
    }
    ram_end = fw_cfg_little_endian(FW_CFG_RAM_SIZE, 8);
    free_ram = PROGRAM_BASE + (1ull << PAGE_SHIFT);
    read_arguments();
    vcpus = parameter("vcpus", vcpus, 1, vcpus);
    user_mode = parameter("user", 0, 0, 1);
    mark_register = parameter("mark", 0, 0, 1ul << 50);
    touches = parameter("touch", 0, 0, 1);

    report_begin();
    report("vcpus", vcpus);
    finish(program());
}

/* Interrupts by level: count, and clear their cause. */
void kit_interrupt(uint64_t level, struct vcpu *me)
{
    uint64_t cause = 1ull << level;

    if (level == 14) {
        cause |= 1;                     /* %tick_compare */
    }
    asm volatile("wr %0, 0, %%clear_softint" : : "r"(cause));
    me->interrupts[level]++;
}

bool crosscall_try(unsigned int target, char *handler, uint64_t data1, uint64_t data2)
{
    uint64_t status, pstate;

    asm volatile("rdpr %%pstate, %0" : "=r"(pstate));
    asm volatile("wrpr %0, 0, %%pstate" : : "r"(pstate & ~(uint64_t)PSTATE_IE) : "memory");
    asm volatile("stxa %0, [%1] %2" : : "r"(handler), "r"(0x40ul), "i"(ASI_INTR_SEND));
    asm volatile("stxa %0, [%1] %2" : : "r"(data1), "r"(0x50ul), "i"(ASI_INTR_SEND));
    asm volatile("stxa %0, [%1] %2" : : "r"(data2), "r"(0x60ul), "i"(ASI_INTR_SEND));
    asm volatile("membar #Sync" : : : "memory");
    asm volatile("stxa %%g0, [%0] %1" : : "r"((uint64_t)target << 14 | 0x70), "i"(ASI_INTR_SEND) : "memory");
    asm volatile("membar #Sync" : : : "memory");
    do {
        asm volatile("ldxa [%%g0] %1, %0" : "=r"(status) : "i"(ASI_DISPATCH_STATUS) : "memory");
    } while (status & 1);
    asm volatile("wrpr %0, 0, %%pstate" : : "r"(pstate) : "memory");
    return !(status & 2);
}

void crosscall(unsigned int target, char *handler, uint64_t data1, uint64_t data2)
{
    while (!crosscall_try(target, handler, data1, data2)) {
        this_vcpu->nacks++;
        spend(1000);                    /* as Linux: 2 us, then again */
    }
}

/* Report */

static uint64_t field(unsigned int vcpu, size_t offset)
{
    return *(volatile uint64_t *)((char *)&kit_vcpus[vcpu] + offset);
}

static void report_name(const char *name)
{
    put(", \"");
    put(name);
    put("\": ");
}

void report(const char *name, uint64_t value)
{
    report_name(name);
    put_number(value);
}

void report_hex(const char *name, const uint8_t *bytes, size_t size)
{
    char digits[3] = "";

    report_name(name);
    put("\"");
    for (size_t i = 0; i < size; i++) {
        digits[0] = "0123456789abcdef"[bytes[i] >> 4];
        digits[1] = "0123456789abcdef"[bytes[i] & 15];
        put(digits);
    }
    put("\"");
}

void report_all(const char *name, size_t offset)
{
    report_name(name);
    for (unsigned int i = 0; i < vcpus; i++) {
        put(i ? ", " : "[");
        put_number(field(i, offset));
    }
    put("]");
}

uint64_t total(size_t offset)
{
    uint64_t sum = 0;

    for (unsigned int i = 0; i < vcpus; i++) {
        sum += field(i, offset);
    }
    return sum;
}
