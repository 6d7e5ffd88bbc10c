/*
 * Random instructions in all modes of an x86-64 processor, mostly in ring 0:
 * 64 KiB of ROM for -bios, without any other firmware.
 *
 * qtest/random_x86.py makes the batches: records of 256 bytes in memory, with
 * the values of registers, code and stack segment, flags, and code.  Each
 * processor takes every second record.  A batch ends with any exception or
 * interrupt, at the latest with an NMI of the local APIC's timer.  All of them
 * lead to next_batch, which sets up whatever a batch may have changed.  What it
 * needs for that is in ROM: descriptor tables, page tables, itself.  If even
 * that fails, the processor shuts down, the machine is reset, and goes on with
 * the batch after it.
 *
 * The program ends by a byte at port 0x501 (isa-debug-exit), or not at all.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define ROM             0xffff0000
#define PROGRESS        0x2000000       /* of each processor: number, ~number */
#define STACK           0x2010000       /* top; the next one is 64 KiB above */
#define RECORDS         0x1000000       /* first word: how many each one takes */
#define RECORD_SIZE     256
#define SANDBOX         0x800000        /* code; the next one is 16 KiB above */
#define SANDBOX_SHIFT   14

#define CS64            0x08
#define DATA            0x10
#define CS32            0x18
#define CS16            0x20
#define TSS             0x50

#define CR0             0x80010033      /* PG WP NE ET MP PE */
#define CR4             0x507f0         /* OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PCE PGE MCE PAE PSE */
#define EFER            0x1901          /* SVME NXE LME SCE */
#define APIC            0xfee00000
#define NMI_TIME        30000          /* of the APIC's timer, ns */

        .macro  long_mode
        movl    $CR4, %eax
        movl    %eax, %cr4
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        movl    $EFER, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $CR0, %eax
        movl    %eax, %cr0
        ljmpl   $CS64, $next_batch
        .endm

        .text
        .code16
start_others:                           /* F000:0000, where SIPI leads */
        cli
        lgdtl   %cs:gdtr - start_others
        long_mode

        .code32
from_32:                                /* protected mode without paging */
        long_mode

        .org    0x100 + 6 - 112
        .code16
from_16:
        ljmpl   $CS32, $from_32

        .code64
        .macro  set_msr number, low, high=0
        movl    $\number, %ecx
        movl    $\low, %eax
        movl    $\high, %edx
        wrmsr
        .endm

        /*
         * Without paging the gates of idt lead here into a segment of 16 bits,
         * where this is: mov $.., %ax; jmp from_16.
         */
        .org    0x100
next_batch:
        .byte   0xb8, 0, 0, 0x66, 0xeb          /* mov $.., %eax */
        nop
        cli
        cld
        stgi
        movl    $CR0, %eax
        movq    %rax, %cr0
        movl    $CR4, %eax
        movq    %rax, %cr4
        movl    $pml4, %eax
        movq    %rax, %cr3
        lgdt    gdtr(%rip)
        lidt    idtr(%rip)
        movl    $0x400, %eax
        movq    %rax, %dr7
        movl    $DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    %eax, %fs
        movl    %eax, %gs
        set_msr 0xc0000080, EFER + 0x400
        set_msr 0xc0000081, 0, 0x00180008       /* STAR */
        set_msr 0xc0000082, next_batch, 0       /* LSTAR */
        set_msr 0xc0000083, next_batch, 0       /* CSTAR */
        set_msr 0xc0000084, 0x3f7fd5            /* SFMASK */
        xorl    %ecx, %ecx
        movl    $7, %eax
        xorl    %edx, %edx
        xsetbv
        fninit

        movl    $1, %eax                /* %r15: which processor, 0 or 1 */
        cpuid
        movl    %ebx, %r15d
        shrl    $24, %r15d
        andl    $1, %r15d
        movl    %r15d, %eax
        shll    $16, %eax
        leal    STACK(%rax), %esp
        leal    TSS(,%r15,8), %eax
        leal    (%rax,%r15,8), %eax
        ltr     %ax

        /* An APIC that is off remains so until reset. */
        movl    $0x1b, %ecx
        rdmsr
        andl    $~0x1ff, %eax           /* without BSP */
        cmpl    $APIC + 0x800, %eax
        jne     shut_down
        movl    $APIC, %edi
        movl    $0x1ff, 0xf0(%rdi)      /* on */
        movl    $0, 0x80(%rdi)          /* priority */
        movl    $0xb, 0x3e0(%rdi)       /* divided by 1 */
        movl    $0x20400, 0x320(%rdi)   /* periodic, NMI */
        movl    $NMI_TIME, 0x380(%rdi)
        movl    $0, 0xb0(%rdi)          /* end of interrupt */
        testl   %r15d, %r15d
        jnz     1f
        movl    $0xc46f0, 0x300(%rdi)   /* SIPI for all others */
1:
        movl    %r15d, %r14d            /* %rbx: which batch */
        shll    $6, %r14d
        addl    $PROGRESS, %r14d
        movq    (%r14), %rbx
        movq    8(%r14), %rax
        notq    %rax
        cmpq    %rax, %rbx
        je      2f
        xorl    %ebx, %ebx              /* the first, or they were overwritten */
        cmpq    $0, (%r14)
        je      2f
        rdtsc
        movl    %eax, %ebx
        andl    $0xfff, %ebx
2:
        incq    %rbx
        movq    %rbx, (%r14)
        movq    %rbx, %rax
        notq    %rax
        movq    %rax, 8(%r14)
        cmpq    RECORDS, %rbx
        jae     finished

        /* Without PE the gates of idt are vectors: to 0000:0000, 0008:next_batch, ffff:ee01. */
        movl    $0, %edi
        call    copy_real_mode
        movl    $next_batch_low + 0x80, %edi
        call    copy_real_mode
        movl    $0x10edf1, %edi
        call    copy_real_mode

        leaq    (%r15,%rbx,2), %rbp     /* %rbp: its record */
        shlq    $8, %rbp
        addq    $RECORDS, %rbp
        movl    %r15d, %edi             /* %rdi: where its code goes */
        shll    $SANDBOX_SHIFT, %edi
        movl    %edi, %edx
        addl    $SANDBOX, %edi
        cmpw    $CS16, 128(%rbp)        /* that segment begins there */
        cmovnel %edi, %edx
        leaq    144(%rbp), %rsi
        movl    $112, %ecx
        rep movsb
        movb    $0xcc, %al
        movl    $64, %ecx
        rep stosb

        movzwl  130(%rbp), %eax
        pushq   %rax                    /* stack segment and pointer */
        pushq   120(%rbp)
        pushq   136(%rbp)               /* flags */
        movzwl  128(%rbp), %eax
        pushq   %rax                    /* code segment, address */
        pushq   %rdx
        movq    0(%rbp), %rax
        movq    8(%rbp), %rbx
        movq    16(%rbp), %rcx
        movq    24(%rbp), %rdx
        movq    32(%rbp), %rsi
        movq    40(%rbp), %rdi
        movq    56(%rbp), %r8
        movq    64(%rbp), %r9
        movq    72(%rbp), %r10
        movq    80(%rbp), %r11
        movq    88(%rbp), %r12
        movq    96(%rbp), %r13
        movq    104(%rbp), %r14
        movq    112(%rbp), %r15
        movq    48(%rbp), %rbp
        iretq

finished:
        testl   %r15d, %r15d
        jnz     3f
        xorl    %eax, %eax
        movl    $0x501, %edx
        outb    %al, %dx
3:
        hlt
        jmp     3b

copy_real_mode:
        movl    $real_mode, %esi
        movl    $real_mode_end - real_mode, %ecx
        rep movsb
        ret
real_mode:
        .byte   0xb8, 0, 0, 0xeb, 6             /* mov $.., %eax; or mov $.., %ax; jmp 1f */
        .byte   0x66, 0xea                      /* segment of 32 bits: ljmp 0xf000:from_32 */
        .word   from_32 - start_others, 0xf000
        .byte   0xea                            /* 1: 16 bits: ljmp 0xf000:start_others */
        .word   0, 0xf000
real_mode_end:

shut_down:
        lidt    none(%rip)
        int3

        .balign 16
none:   .quad   0, 0
gdtr:   .word   gdt_end - gdt - 1
        .quad   gdt
        .balign 16
idtr:   .word   256 * 16 - 1
        .quad   idt

        .macro  segment base, limit, access, flags
        .word   \limit & 0xffff, \base & 0xffff
        .byte   (\base >> 16) & 0xff, \access, (\flags << 4) | (\limit >> 16), (\base >> 24) & 0xff
        .endm
        .balign 16
gdt:    .quad   0
        segment 0, 0xfffff, 0x9b, 0xa                   /* 08 code, 64 bits */
        segment 0, 0xfffff, 0x93, 0xc                   /* 10 data */
        segment 0, 0xfffff, 0x9b, 0xc                   /* 18 code, 32 bits */
        segment SANDBOX, 0xffff, 0x9b, 0                /* 20 code, 16 bits */
        segment SANDBOX, 0xffff, 0x93, 0                /* 28 data, 16 bits */
        segment 0, 0xfffff, 0xfb, 0xa                   /* 30 code of ring 3, 64 bits */
        segment 0, 0xfffff, 0xf3, 0xc                   /* 38 data of ring 3 */
        segment 0, 0xfffff, 0xfb, 0xc                   /* 40 code of ring 3, 32 bits */
        segment 0, 0xfffff, 0x97, 0xc                   /* 48 data, expand down */
        .irp    tss, tss0, tss1                         /* 50, 60 */
        .word   103, tss_low_\tss
        .byte   tss_middle_\tss, 0x89, 0, 0xff
        .quad   0
        .endr
        .word   next_batch_low, CS64                    /* 70 call gate */
        .byte   0, 0xec
        .word   0xffff
        .quad   0
        segment SANDBOX, 103, 0x82, 0                   /* 80 LDT */
        .quad   0
        segment 0, 0xfffff, 0x1b, 0xa                   /* 90 code, not present */
        segment 0, 0xfffff, 0x9f, 0xa                   /* 98 conforming code */
        segment 0, 0xfffff, 0x8b, 0xc                   /* a0 a busy TSS */
        .quad   0
gdt_end:

        .set    next_batch_low, next_batch - start_others
        .set    tss_low_tss0, tss0 - start_others
        .set    tss_low_tss1, tss1 - start_others
        .set    tss_middle_tss0, 0xff                   /* of 0xffffxxxx */
        .set    tss_middle_tss1, 0xff

        .macro  tss number
        .balign 16
tss\number:
        .long   0
        .quad   STACK + \number * 0x10000 - 0x1000      /* rings 0, 1, 2 */
        .quad   STACK + \number * 0x10000 - 0x1000
        .quad   STACK + \number * 0x10000 - 0x1000
        .quad   0
        .quad   STACK + \number * 0x10000               /* IST 1 */
        .fill   (104 - 44) / 4, 4, 0
        .endm
        tss     0
        tss     1

        .balign 16
idt:    .rept   256
        .word   next_batch_low, CS64
        .byte   1, 0xee                                 /* IST 1; interrupt gate for all rings */
        .word   0xffff
        .quad   0
        .endr

        /* Pages of 1 GiB, for all rings, accessed and dirty: 0 to 512 GiB */
        .balign 4096
pml4:   .quad   pdpt + 0x67
        .fill   511, 8, 0
pdpt:   .set    page, 0
        .rept   512
        .quad   page + 0xe7
        .set    page, page + 0x40000000
        .endr

        .org    0xfff0
        .code16
        jmp     start_others
        .org    0x10000
