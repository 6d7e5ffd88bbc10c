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
