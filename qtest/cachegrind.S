/*
 * A program for x86-64 without a library and without an operating system, or with
 * one (-DHOSTED), for test_caches.py: the same instructions and the same data, so
 * that cachegrind can say what a cache model ought to count.
 *
 * ROUNDS times: UPDATES words of 160 KiB, chosen by a generator of random numbers,
 * are changed, and all words are added up in order.  The data begin at a page.
 *
 * Hosted it is a static executable for Linux; else 64 KiB of ROM, which goes into
 * 64-bit mode with one page directory of 2 MB pages, and the data are at 2 MB.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define WORDS 20480
#define UPDATES 20000

#ifdef HOSTED
        .globl  _start
        .text
_start:
        mov     $data, %rsi
        jmp     work
done:
        mov     $60, %eax               # exit(0)
        xor     %edi, %edi
        syscall

        .bss
        .balign 4096
data:   .skip   WORDS * 8
        .text
#else
#include "x86-rom.S"
#define PML4 0x10000
#define PDPT 0x11000
#define PD 0x12000
        rom_begin
        mov     $0x1000, %ax
        mov     %ax, %ds
        movl    $PDPT + 3, 0x0000       # present, may be written
        movl    $0, 0x0004
        movl    $PD + 3, 0x1000
        movl    $0, 0x1004
        movl    $0x0000e3, 0x2000       # 2 MB, accessed and dirty
        movl    $0, 0x2004
        movl    $0x2000e3, 0x2008
        movl    $0, 0x200c
        lgdtl   %cs:gdtr
        rom_long_mode 0x20, PML4   # physical address extension
        mov     %cr0, %eax
        or      $0x80000001, %eax
        mov     %eax, %cr0
        ljmpl   $8, $0xf0000 + long
        .code64
long:
        mov     $0x200000, %esi
        jmp     work
done:
        quit

        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      # 64-bit code, accessed
gdtr:   .word   gdtr - gdt - 1
        .long   0xf0000 + gdt
#endif

        .balign 64
work:                                   # data in %rsi
        mov     $ROUNDS, %r8d
        mov     $1, %eax
        movabs  $6364136223846793005, %r10
        movabs  $1442695040888963407, %r11
1:      mov     $UPDATES, %ecx
2:      imul    %r10, %rax
        add     %r11, %rax
        mov     %rax, %rdx
        shr     $33, %rdx
        imul    $WORDS, %rdx, %rdx
        shr     $31, %rdx
        mov     (%rsi, %rdx, 8), %rbx
        add     %rax, %rbx
        mov     %rbx, (%rsi, %rdx, 8)
        dec     %ecx
        jnz     2b
        xor     %ecx, %ecx
3:      add     (%rsi, %rcx, 8), %rbx
        inc     %ecx
        cmp     $WORDS, %ecx
        jb      3b
        dec     %r8d
        jnz     1b
        jmp     done

#ifndef HOSTED
        rom_end
#endif
