/*
 * Driver of a vsched-safepoint: Linux says where it holds no spin lock.
 *
 *     safepoint.addr=0x1fe0f200000     (on the kernel's command line)
 *
 * "Injected safe points" (Uhlig et al., VM 2004): the hypervisor wants to
 * preempt a processor that is in the kernel, and sends it an interrupt.  The
 * driver answers by writing register SAFE, and the processor is preempted right
 * there.  An interrupt is taken where interrupts are on, so no lock is held that
 * needs them to be off.  The others:
 *
 *   at once   The interrupted code holds no spin lock: it is in user mode; or
 *             the kernel counts its locks (CONFIG_PREEMPT_COUNT), and the count
 *             is 0.
 *   later     Otherwise a thread of this processor, of real-time priority, is
 *             woken and answers.  It runs when the interrupted code lets the
 *             scheduler in, which it may not do with a spin lock in hand: at the
 *             last unlock in a preemptible kernel, else at cond_resched(), where
 *             it sleeps, or on its way to user mode.
 *
 * /sys/module/safepoint/parameters/{now,later} count the answers.
 *
 * SPDX-License-Identifier: GPL-2.0-only
 */

#include <linux/interrupt.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/smpboot.h>
#include <uapi/linux/sched/types.h>
#include <asm/irq.h>
#include <asm/irq_regs.h>
#include <asm/ptrace.h>
#include <asm/upa.h>

enum { VECTOR = 0, SAFE = 8 };	/* registers, see hw-cmp/safe-point.c */

#define FIRST_INO 0x400		/* of NR_CPUS; the bridge has 0x7c0 and above */

/* As in arch/sparc/kernel/irq_64.c, which keeps it to itself. */
struct ino_bucket {
	unsigned long chain_pa;
	unsigned int irq;
	unsigned int pad;
};

/* What Linux takes for the registers of the interrupt: nobody reads them. */
struct source {
	u64 map, clear;
};

extern struct ino_bucket *ivector_table;
extern unsigned long ivector_table_pa;
void safepoint_vector(void);

unsigned long safepoint_buckets_pa;

static struct source sources[NR_CPUS];
static DEFINE_PER_CPU(struct task_struct *, thread);
static DEFINE_PER_CPU(bool, wanted);
static DEFINE_PER_CPU(unsigned long, now);
static DEFINE_PER_CPU(unsigned long, later);

static unsigned long addr;
module_param(addr, ulong, 0444);
MODULE_PARM_DESC(addr, "physical address of the registers");

static int get_sum(char *buffer, const struct kernel_param *param)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr((unsigned long __percpu *)param->arg, cpu);
	return sprintf(buffer, "%lu\n", sum);
}

static const struct kernel_param_ops sum_ops = { .get = get_sum };

module_param_cb(now, &sum_ops, (void __force *)&now, 0444);
MODULE_PARM_DESC(now, "answers of the interrupt handler");
module_param_cb(later, &sum_ops, (void __force *)&later, 0444);
MODULE_PARM_DESC(later, "answers of a thread");

/* The processor may be preempted in the middle of this. */
static void answer(unsigned long __percpu *counter)
{
	this_cpu_inc(*counter);
	upa_writeq(0, addr + SAFE);
}

/* Does the interrupted code hold no spin lock? */
static bool at_safe_point(void)
{
	return preempt_count() == HARDIRQ_OFFSET &&
	       (IS_ENABLED(CONFIG_PREEMPT_COUNT) || user_mode(get_irq_regs()));
}

static irqreturn_t asked(int irq, void *cookie)
{
	if (at_safe_point()) {
		answer(&now);
	} else {
		__this_cpu_write(wanted, true);
		wake_up_process(__this_cpu_read(thread));
	}
	return IRQ_HANDLED;
}

static int thread_is_wanted(unsigned int cpu)
{
	return per_cpu(wanted, cpu);
}

static void thread_answers(unsigned int cpu)
{
	per_cpu(wanted, cpu) = false;
	answer(&later);
}

static void thread_begins(unsigned int cpu)
{
	sched_set_fifo(current);
}

static struct smp_hotplug_thread threads = {
	.store = &thread,
	.thread_should_run = thread_is_wanted,
	.thread_fn = thread_answers,
	.setup = thread_begins,
	.thread_comm = "safepoint/%u",
};

static int __init safepoint_init(void)
{
	int cpu, error;

	if (!addr)
		return 0;
	error = smpboot_register_percpu_thread(&threads);
	for_each_possible_cpu(cpu) {
		if (error)
			break;
		sources[cpu].map = FIRST_INO + cpu;
		error = request_irq(build_irq(0, __pa(&sources[cpu].clear),
					      __pa(&sources[cpu].map)),
				    asked, IRQF_PERCPU | IRQF_NOBALANCING,
				    "safepoint", &sources[cpu]);
	}
	if (error) {
		pr_err("safepoint: no driver: error %d\n", error);
		return error;
	}
	safepoint_buckets_pa = ivector_table_pa +
			       FIRST_INO * sizeof(struct ino_bucket);
	upa_writeq((unsigned long)safepoint_vector, addr + VECTOR);
	pr_info("safepoint: registers at 0x%lx\n", addr);
	return 0;
}
late_initcall(safepoint_init);
