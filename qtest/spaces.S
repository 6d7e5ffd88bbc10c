/*
 * Two address spaces in turn, in 64-bit mode, without an operating system.
 *
 * 64 KiB of ROM.  A page at 512 GB is of another frame in each space; a page at 1024 GB is of the
 * same one, and global.  ROUNDS times: CR3 is written with the other space, both pages are
 * incremented, and TOUCH pages of the low 8 MB are read, which have the flags LOW.  The low
 * words of the frames are at FIRST, SECOND and BOTH at the end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "x86-rom.S"

#define STACK 0x8000
#define PML4 0x10000
#define PDPT 0x11000
#define PD 0x12000
#define OTHER_PML4 0x13000
#define FIRST_TABLES 0x20000            /* PDPT, PD, PT */
#define SECOND_TABLES 0x24000
#define BOTH_TABLES 0x28000
#define FIRST 0x300000
#define SECOND 0x301000
#define BOTH 0x302000

#define TABLE 0x23                      /* present, may be written, accessed */
#define PAGE 0x63                       /* the same, and dirty */
#define G 0x100
#define LARGE 0x80

        .macro  tables at, flags, frame
        movl    $\at + 0x1000 + TABLE, \at
        movl    $\at + 0x2000 + TABLE, \at + 0x1000
        movl    $\frame + \flags, \at + 0x2000
        .endm

        rom_begin
        rom_protected
        mov     %eax, %ss
        mov     $STACK, %esp
        movl    $PDPT + TABLE, PML4
        movl    $PDPT + TABLE, OTHER_PML4
        movl    $PD + TABLE, PDPT
        mov     $PD, %edi
        mov     $PAGE + LARGE + LOW, %eax
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        movl    $FIRST_TABLES + TABLE, PML4 + 8
        movl    $SECOND_TABLES + TABLE, OTHER_PML4 + 8
        movl    $BOTH_TABLES + TABLE, PML4 + 16
        movl    $BOTH_TABLES + TABLE, OTHER_PML4 + 16
        tables  FIRST_TABLES, PAGE, FIRST
        tables  SECOND_TABLES, PAGE, SECOND
        tables  BOTH_TABLES, PAGE + G, BOTH

        rom_long_mode 0xa0, PML4
        rom_paging long
long:   mov     $1, %rsi
        shl     $39, %rsi
        mov     $ROUNDS, %ebx
2:      mov     %cr3, %rax
        xor     $PML4 ^ OTHER_PML4, %rax
        mov     %rax, %cr3
        incl    (%rsi)
        incl    (%rsi, %rsi)
        xor     %edi, %edi
        mov     $TOUCH, %ecx
3:      mov     (%rdi), %eax
        add     $0x1000, %edi
        loop    3b
        dec     %ebx
        jnz     2b
        quit

        rom_segments

        rom_end
