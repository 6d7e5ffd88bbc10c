/*
 * Linux tells a vsched-fault-counter where it counts page faults.
 *
 *     insmod pagefaults.ko addr=0xfeb00000
 *
 * DSP with faults=guest reads the kernel's own counter of page faults, as in
 * Wang et al., "Selective Hardware/Software Memory Virtualization", VEE 2011,
 * section 3.2: a module in the guest tells the hypervisor its address.  Linux
 * counts on each processor apart ("pgfault" of /proc/vmstat), so the module tells
 * one physical address for each, and takes them back when it goes.  The counter of
 * a processor that goes offline is added to another's by Linux.
 *
 * SPDX-License-Identifier: GPL-2.0-only
 */

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/vmstat.h>

static unsigned long addr;
module_param(addr, ulong, 0444);
MODULE_PARM_DESC(addr, "physical address of the register");

static void __iomem *reg;

static phys_addr_t physical(void *p)
{
	return is_vmalloc_addr(p) ?
	       page_to_phys(vmalloc_to_page(p)) + offset_in_page(p) : virt_to_phys(p);
}

static int __init pagefaults_init(void)
{
	int cpu;
	u64 known;

	if (!addr || addr % sizeof(u64)) {
		pr_err("pagefaults: addr=0x%lx: allowed are multiples of 8 that are the address"
		       " of a vsched-fault-counter\n", addr);
		return -EINVAL;
	}
	reg = ioremap(addr, sizeof(u64));
	if (!reg)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		writeq(physical(&per_cpu(vm_event_states, cpu).event[PGFAULT]), reg);
	known = readq(reg);
	/* Where nothing is, all bits are set. */
	if (known < num_possible_cpus() || known == ~0ULL) {
		pr_err("pagefaults: there is no vsched-fault-counter at 0x%lx\n", addr);
		iounmap(reg);
		return -ENODEV;
	}
	pr_info("pagefaults: %u processors\n", num_possible_cpus());
	return 0;
}

static void __exit pagefaults_exit(void)
{
	writeq(0, reg);
	iounmap(reg);
}

module_init(pagefaults_init);
module_exit(pagefaults_exit);
MODULE_DESCRIPTION("Tells a vsched-fault-counter where Linux counts page faults");
MODULE_LICENSE("GPL");
