/*
 * Page tables of x86 and pages that are touched once, without an operating system.
 *
 * 64 KiB of ROM.  FORMAT is the number of levels: 2 (32 bits), 3 (PAE), 4, 5.  Code and
 * tables are in a large page at 0.  PAGES pages of 4 KiB at 1 GB are loaded from, one after
 * the other, ROUNDS times with WORK instructions before; all entries have their A and D bits
 * set, but for those of the pages if PAGE says so.  With NEW_ROOT, a power of 2, CR3 is written
 * after so many rounds.  With ORDER, a list of pages, these are
 * loaded from then, in this order.  With REMAP, the entry of the first
 * page is written twice then, the page invalidated and loaded from again, and a loop goes
 * on for AFTER instructions.  With LARGE_PAGE as well, that page is invalidated once more before
 * this loop, and there are loads from a large page behind the others, and from pages 1, 2 and 1.  With COUNTER, the word at that address is where the program
 * counts: it tells a vsched-fault-counter at REGISTER, and adds one for each page.
 *
 * The code has 32 bits in all formats: with 4 and 5 levels it runs in compatibility mode.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "x86-rom.S"

#ifndef ROUNDS
#define ROUNDS 1
#define WORK 1
#endif

#define PDPT 0x10000
#define PD 0x11000
#define PD_OF_DATA 0x12000
#define PT 0x13000
#define PML4 0x14000
#define PML5 0x15000
#define DATA 0x40000000
#define TABLE 0x23                      /* present, may be written, accessed */
#ifndef PAGE
#define PAGE 0x63                       /* the same, and dirty */
#endif
#define LARGE 0xe3

#if FORMAT == 2
#define ROOT PD
#define ENTRY 4
#define CR4 0x10                        /* large pages */
#elif FORMAT == 3
#define ROOT PDPT
#define ENTRY 8
#define CR4 0x20                        /* physical address extension */
#define OF_PDPT 1                       /* present; there are no other bits */
#elif FORMAT == 4
#define ROOT PML4
#define ENTRY 8
#define CR4 0x20
#define OF_PDPT TABLE
#else
#define ROOT PML5
#define ENTRY 8
#define CR4 0x1020                      /* and 5 levels */
#define OF_PDPT TABLE
#endif

        rom_begin
        rom_protected
        movl    $LARGE, PD
#if FORMAT == 2
        movl    $PT + TABLE, PD + (DATA >> 22) * 4
#else
        movl    $PD + OF_PDPT, PDPT
        movl    $PD_OF_DATA + OF_PDPT, PDPT + 8
        movl    $PT + TABLE, PD_OF_DATA
#ifdef LARGE_PAGE
        movl    $0x400000 + LARGE, PD_OF_DATA + ENTRY
#endif
        movl    $PDPT + TABLE, PML4
        movl    $PML4 + TABLE, PML5
#endif
#ifdef COUNTER
        movl    $COUNTER, COUNTER
        movq    COUNTER, %mm0
        movl    $0, COUNTER
        movq    %mm0, REGISTER
#endif
        mov     $PT, %edi
        mov     $0x200000 + PAGE, %eax
        mov     $PAGES, %ecx
1:      mov     %eax, (%edi)
        add     $ENTRY, %edi
        add     $0x1000, %eax
        loop    1b
        mov     $CR4, %eax
        mov     %eax, %cr4
        mov     $ROOT, %eax
        mov     %eax, %cr3
#if FORMAT > 3
        mov     $0xc0000080, %ecx       # EFER: long mode
        mov     $0x100, %eax
        xor     %edx, %edx
        wrmsr
#endif
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        jmp     2f
2:      mov     $ROUNDS, %ebx
5:      mov     $WORK, %ecx
6:      loop    6b
        mov     $DATA, %esi
        mov     $PAGES, %ecx
3:      mov     (%esi), %eax
#ifdef COUNTER
        incl    COUNTER
#endif
        add     $0x1000, %esi
        loop    3b
#ifdef NEW_ROOT
        lea     -1(%ebx), %eax
        test    $NEW_ROOT - 1, %eax
        jnz     8f
        mov     $ROOT, %eax
        mov     %eax, %cr3
8:
#endif
        dec     %ebx
        jnz     5b
#ifdef ORDER
        .irp    n, ORDER
        mov     DATA + \n * 0x1000, %eax
        .endr
#endif
#ifdef REMAP
        movl    $0x280000 + PAGE, PT
        movl    $0x281000 + PAGE, PT
        invlpg  DATA
        mov     DATA, %eax
#ifdef LARGE_PAGE
        invlpg  DATA
        jmp     9f
9:      mov     DATA + 0x200000, %eax
        mov     DATA + 0x1000, %eax
        mov     DATA + 0x2000, %eax
        mov     DATA + 0x1000, %eax
#endif
#ifdef AFTER
        mov     $AFTER, %ecx
7:      loop    7b
#endif
#endif
        quit

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # 32-bit code, accessed
        .quad   0x00cf93000000ffff      # data
gdtr:   .word   gdtr - gdt - 1
        .long   0xf0000 + gdt

        rom_end
