/*
 * What programs of 64 KiB of ROM for x86 share: rom_begin comes first, rom_end last, and
 * quit ends QEMU (-device isa-debug-exit,iobase=0xf4).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

        .macro  rom_begin
        .code16
        .globl  _start
        .text
_start:
        cli
        ljmp    $0xf000, $low           # from the top of memory to below 1 MB
low:
        .endm

        # To protected mode: gdtr, and segments 8 and 16 of 4 GB, are the program's.
        .macro  rom_protected
        lgdtl   %cs:gdtr
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $8, $0xf0000 + protected
        .code32
protected:
        mov     $16, %eax
        mov     %eax, %ds
        .endm

        # Of rom_protected, and 24 of code of 64 bits
        .macro  rom_segments
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # 32-bit code, accessed
        .quad   0x00cf93000000ffff      # data
        .quad   0x00af9b000000ffff      # 64-bit code
gdtr:   .word   gdtr - gdt - 1
        .long   0xf0000 + gdt
        .endm

        # Long mode comes with paging: cr4, and the first table.
        .macro  rom_long_mode cr4, root
        mov     $\cr4, %eax
        mov     %eax, %cr4
        mov     $\root, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       # EFER: long mode
        mov     $0x100, %eax
        xor     %edx, %edx
        wrmsr
        .endm

        # Paging, with write protection, and on in 64-bit code
        .macro  rom_paging entry
        mov     %cr0, %eax
        or      $0x80010000, %eax
        mov     %eax, %cr0
        ljmp    $24, $0xf0000 + \entry
        .code64
        .endm

        .macro  quit
        mov     $0x51, %al
        out     %al, $0xf4
        cli
quit\@: hlt
        jmp     quit\@
        .endm

        .macro  rom_end
        .org    0xfff0
        .byte   0xe9                    # jmp 0xf000:0
        .word   -0xfff3
        .org    0x10000
        .endm
