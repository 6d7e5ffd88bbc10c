/*
 * 64 KiB of ROM for x86, for test_plugins_cores.py: page walks whose number is known
 *
 * Page directory at 0x10000, of pages of 4 MB (without PAE): a walk reads one entry
 * of 4 bytes, and writes it when it sets "accessed" or "dirty".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "x86-rom.S"

        rom_begin
        mov     $0x1000, %ax
        mov     %ax, %es
        xor     %di, %di
        mov     $0x83, %eax             # present, may be written, 4 MB
        mov     $1024, %cx
1:      stosl
        add     $0x400000, %eax
        loop    1b
        lgdtl   %cs:gdtr
        mov     $0x10, %eax             # page size extension
        mov     %eax, %cr4
        mov     $0x10000, %eax
        mov     %eax, %cr3
        mov     %cr0, %eax
        or      $0x80000001, %eax
        mov     %eax, %cr0
        ljmpl   $8, $0xf0000 + protected
        .code32
protected:
        mov     $0x10, %ax
        mov     %ax, %ds
        mov     $0x400000, %ebx
        mov     $PAGES, %ecx
2:      mov     (%ebx), %eax
        mov     8(%ebx), %eax
        add     $0x400000, %ebx
        loop    2b
        mov     $0x400000, %ebx
        mov     $PAGES, %ecx
3:      mov     %eax, (%ebx)
        mov     (%ebx), %eax
        add     $0x400000, %ebx
        loop    3b
        quit

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # code, accessed
        .quad   0x00cf93000000ffff      # data, accessed
gdtr:   .word   gdtr - gdt - 1
        .long   0xf0000 + gdt

        rom_end
