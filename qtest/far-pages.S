/*
 * Pages where QEMU's own TLB has it hard, in 64-bit mode, without an operating system.
 *
 * 64 KiB of ROM.  The last page of the address space is global: it is written, CR3 is, and it
 * is written again; what its frame has then is the word at RESULT, what the page reads that
 * behind it.  Then PAGES pages at 512 GB, 1024 GB and so on, which have one place in QEMU's
 * TLB whatever size that has, are written in turn, PASSES times, and CR3 after these; all of
 * that ROUNDS times.  Then the first of them is read, A is taken from its entry without INVLPG,
 * all others are read, and it is read again: the word at RESULT + 12 is its entry then.  The
 * word at RESULT + 8 is "good" at the end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "x86-rom.S"

#define RESULT 0x9000
#define GOOD 0x600d
#define STACK 0x8000

#define PML4 0x10000
#define PDPT 0x11000
#define PD 0x12000
#define LAST_PDPT 0x13000
#define LAST_PD 0x14000
#define LAST_PT 0x15000
#define LAST_FRAME 0x180000
#define FAR 0x200000                    /* of each page: three tables, and itself */

#define TABLE 0x23                      /* present, may be written, accessed */
#define PAGE 0x63                       /* the same, and dirty */
#define A 0x20
#define G 0x100
#define LARGE 0x80

        rom_begin
        rom_protected
        mov     %eax, %ss
        mov     $STACK, %esp
        movl    $PDPT + TABLE, PML4
        movl    $PD + TABLE, PDPT
        mov     $PD, %edi
        mov     $PAGE + LARGE, %eax
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        movl    $LAST_PDPT + TABLE, PML4 + 511 * 8
        movl    $LAST_PD + TABLE, LAST_PDPT + 511 * 8
        movl    $LAST_PT + TABLE, LAST_PD + 511 * 8
        movl    $LAST_FRAME + PAGE + G, LAST_PT + 511 * 8

        mov     $FAR, %ebx
        mov     $PML4 + 8, %edi
        mov     $PAGES, %ecx
1:      lea     TABLE(%ebx), %eax
        mov     %eax, (%edi)
        add     $0x1000, %eax
        mov     %eax, (%ebx)
        add     $0x1000, %eax
        mov     %eax, 0x1000(%ebx)
        lea     0x3000 + PAGE(%ebx), %eax
        mov     %eax, 0x2000(%ebx)
        add     $0x4000, %ebx
        add     $8, %edi
        loop    1b

        rom_long_mode 0xa0, PML4
        rom_paging long
long:   mov     $-0x1000, %rdi
        movl    $0x1234, (%rdi)
        mov     %cr3, %rax
        mov     %rax, %cr3
        movl    $0x5678, (%rdi)
        mov     LAST_FRAME, %eax
        mov     %eax, RESULT
        mov     (%rdi), %eax
        mov     %eax, RESULT + 4

        mov     $ROUNDS, %ebx
2:      mov     $PASSES, %edx
3:      mov     $1, %rdi
        shl     $39, %rdi
        mov     %rdi, %rsi
        mov     $PAGES, %ecx
4:      incl    (%rdi)
        add     %rsi, %rdi
        loop    4b
        dec     %edx
        jnz     3b
        mov     %cr3, %rax
        mov     %rax, %cr3
        dec     %ebx
        jnz     2b

        mov     (%rsi), %eax
        andl    $~A, FAR + 0x2000
        mov     %rsi, %rdi
        mov     $PAGES - 1, %ecx
5:      add     %rsi, %rdi
        mov     (%rdi), %eax
        loop    5b
        mov     (%rsi), %eax
        mov     FAR + 0x2000, %eax
        mov     %eax, RESULT + 12

        movl    $GOOD, RESULT + 8
        quit

        rom_segments

        rom_end
